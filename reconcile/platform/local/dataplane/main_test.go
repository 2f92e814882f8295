package dataplane

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"
)

// The test binary is also the programs that tests start: a data plane with its keeper, and a node.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case verb:
			os.Exit(planeMain(os.Args[2:]))
		case "node":
			os.Exit(nodeMain(os.Args[2:]))
		case "knock":
			os.Exit(knockMain(os.Args[2]))
		}
	}
	os.Exit(m.Run())
}

func planeMain(args []string) int {
	flags := flag.NewFlagSet(verb, flag.ExitOnError)
	dir := flags.String("dir", "", "")
	supervise := flags.Bool("supervise", false, "")
	_ = flags.Parse(args)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	do := Serve
	if *supervise {
		do = Keep
	}
	if err := do(ctx, *dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// nodeMain is a node: it answers with its pid, and is ready at once.
func nodeMain(args []string) int {
	flags := flag.NewFlagSet("node", flag.ExitOnError)
	address := flags.String("address", "", "")
	_ = flags.Parse(args)
	fmt.Println("node starts", os.Getpid())
	mux := http.NewServeMux()
	mux.HandleFunc("/health/ready", func(w http.ResponseWriter, r *http.Request) {})
	mux.HandleFunc("/realms/echo", echo)
	mux.HandleFunc("/realms/pid", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, os.Getpid()) })
	mux.HandleFunc("/realms/slow", func(w http.ResponseWriter, r *http.Request) {
		d, _ := time.ParseDuration(r.URL.Query().Get("for"))
		select {
		case <-time.After(d):
		case <-r.Context().Done():
		}
		fmt.Fprint(w, os.Getpid())
	})
	server := &http.Server{Addr: *address, Handler: mux}
	gone := make(chan os.Signal, 1)
	signal.Notify(gone, syscall.SIGTERM)
	go func() {
		<-gone
		server.Shutdown(context.Background())
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// knockMain tells whether a unix socket lets us say anything.
func knockMain(path string) int {
	conn, err := net.Dial("unix", path)
	if err != nil {
		fmt.Println("not reached:", err)
		return 0
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		fmt.Println("refused")
		return 0
	}
	fmt.Println("let in")
	return 0
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(2 * time.Minute)
	for !done() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
