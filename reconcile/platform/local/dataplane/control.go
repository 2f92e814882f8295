package dataplane

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/platform"
)

// Order is what a command says besides its name. A command reads what it needs of it; nothing that it names can be more
// than a name.
type Order struct {
	Epoch     int64    `json:"epoch"`
	Node      string   `json:"node,omitempty"`
	Revision  string   `json:"revision,omitempty"`
	Patience  Duration `json:"patience,omitempty"`
	Primaries []string `json:"primaries,omitempty"`
	Settings  Settings `json:"settings,omitzero"`
}

// Answer is what came of a command.
type Answer struct {
	Cut   int    `json:"cut,omitempty"` // requests or connections that were cut off
	Error string `json:"error,omitempty"`
	Code  code   `json:"code,omitempty"`
}

// code tells errors apart that somebody decides by.
type code string

const (
	codeOld     code = "old epoch"
	codeInvalid code = "invalid"
)

// moved is the answer of a process that is being replaced, with 503: ask again.
var moved = Answer{Error: "another process takes over"}

// commands are all that a data plane can be told. Each may be repeated.
var commands = map[string]func(*Plane, context.Context, Order) (cut int, err error){
	"settle":  (*Plane).doSettle,
	"run":     (*Plane).doRun,
	"stop":    (*Plane).doStop,
	"remove":  (*Plane).doRemove,
	"drain":   (*Plane).doDrain,
	"admit":   (*Plane).doAdmit,
	"gate":    (*Plane).doGate,
	"open":    (*Plane).doOpen,
	"hold":    (*Plane).doHold,
	"route":   (*Plane).doRoute,
	"shut":    (*Plane).doShut,
	"fence":   (*Plane).doFence,
	"upgrade": (*Plane).doUpgrade,
	"end":     (*Plane).doEnd,
}

// control is the server of the unix socket.
func (p *Plane) control() *http.Server {
	mux := http.NewServeMux()
	for name, do := range commands {
		mux.HandleFunc("POST /v1/"+name, func(w http.ResponseWriter, r *http.Request) {
			var o Order
			in := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
			in.DisallowUnknownFields()
			if err := in.Decode(&o); err != nil {
				reply(w, http.StatusBadRequest, Answer{Error: err.Error(), Code: codeInvalid})
				return
			}
			cut, err := do(p, r.Context(), o)
			var wrong invalid
			switch {
			case err == nil:
				reply(w, http.StatusOK, Answer{Cut: cut})
			case errors.Is(err, platform.ErrOldEpoch):
				reply(w, http.StatusConflict, Answer{Error: err.Error(), Code: codeOld})
			case errors.As(err, &wrong):
				reply(w, http.StatusUnprocessableEntity, Answer{Error: err.Error(), Code: codeInvalid})
			case errors.Is(err, context.Canceled):
				reply(w, http.StatusServiceUnavailable, moved)
			default:
				reply(w, http.StatusInternalServerError, Answer{Error: err.Error()})
			}
		})
	}
	mux.HandleFunc("GET /v1/look", func(w http.ResponseWriter, r *http.Request) {
		seen, err := p.look(r.Context())
		if err != nil {
			reply(w, http.StatusServiceUnavailable, moved)
			return
		}
		reply(w, http.StatusOK, seen)
	})
	mux.Handle("GET /metrics", p.metrics.handler())
	return &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return p.life }}
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // whoever doesn't hear it asks again
}

// ours lets only our own user and root in.
type ours struct{ net.Listener }

func (l ours) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if uid, err := peer(conn); err == nil && (uid == 0 || uid == uint32(os.Getuid())) {
			return conn, nil
		}
		conn.Close()
	}
}

// peer is who is at the other end of a unix socket, as the kernel knows it.
func peer(conn net.Conn) (uid uint32, err error) {
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, errors.New("no unix socket")
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return 0, err
	}
	var who *syscall.Ucred
	var refused error
	if err := raw.Control(func(fd uintptr) {
		who, refused = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if refused != nil {
		return 0, refused
	}
	return who.Uid, nil
}
