package dataplane

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/platform"
)

// Client tells a data plane what to do. Every method may be called again with the same arguments at any time; one that
// waits for something goes on waiting for it. Where a newer epoch is in force, nothing is done: platform.ErrOldEpoch.
type Client struct {
	// Dir is the data plane's folder.
	Dir  string
	http *http.Client
}

// NewClient is a client of the data plane in a folder.
func NewClient(dir string) *Client {
	return &Client{Dir: dir, http: &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Second,
		DialContext: func(ctx context.Context, _, _ string) (conn net.Conn, err error) {
			err = folder(dir).short(controlName, func(path string) error {
				conn, err = (&net.Dialer{}).DialContext(ctx, "unix", path)
				return err
			})
			return conn, err
		},
	}}}
}

// ErrInvalid is why a command can't be carried out, whenever it is given.
var ErrInvalid = errors.New("it can't be done")

// Start has a keeper and its data plane run in a folder that holds a plane.json, as the binary has it, and returns when it
// answers; so it does where it runs already. It outlives the caller.
func (c *Client) Start(ctx context.Context, binary string) error {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return err
	}
	if _, err := c.Look(ctx); err == nil {
		return nil
	}
	cmd := exec.Command(binary, verb, "--supervise", "--dir", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")} // no secret of ours goes along
	said, err := os.CreateTemp("", "keeper-*")
	if err != nil {
		return err
	}
	defer said.Close()
	defer os.Remove(said.Name())
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the data plane: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			if err != nil {
				text, _ := os.ReadFile(said.Name())
				return fmt.Errorf("start the data plane: %w: %s", err, bytes.TrimSpace(text))
			}
			ended = nil // another keeper has the folder
		case <-tick.C:
			if _, err := c.Look(ctx); err == nil {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("start the data plane: %w", ctx.Err())
		}
	}
}

// Look sees what the data plane was told, and how all is.
func (c *Client) Look(ctx context.Context) (seen Seen, err error) {
	return seen, c.ask(ctx, http.MethodGet, "look", nil, &seen)
}

// Metrics are what the data plane counts, in Prometheus' text form.
func (c *Client) Metrics(ctx context.Context) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://dataplane/metrics", nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "text/plain")
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New(answer.Status)
	}
	return text, err
}

// Settle takes balancer settings into force, for requests from now on.
func (c *Client) Settle(ctx context.Context, epoch int64, s Settings) error {
	_, err := c.tell(ctx, "settle", Order{Epoch: epoch, Settings: s})
	return err
}

// Run has a node, or the database, run as nodes/NODE/REVISION.json says, whatever happens to it, until it is stopped. It
// returns before the node is ready. One that runs in another revision must be stopped first.
func (c *Client) Run(ctx context.Context, epoch int64, node, revision string) error {
	_, err := c.tell(ctx, "run", Order{Epoch: epoch, Node: node, Revision: revision})
	return err
}

// Stop returns when the node's process is gone; it was asked to go, and killed after patience, where that isn't 0. When it
// runs again, it gets requests once it is admitted.
func (c *Client) Stop(ctx context.Context, epoch int64, node string, patience time.Duration) error {
	_, err := c.tell(ctx, "stop", Order{Epoch: epoch, Node: node, Patience: Duration(patience)})
	return err
}

// Remove forgets a node that is stopped.
func (c *Client) Remove(ctx context.Context, epoch int64, node string) error {
	_, err := c.tell(ctx, "remove", Order{Epoch: epoch, Node: node})
	return err
}

// Drain returns when the node gets no more requests and none that it had is unanswered; cut are those that took longer
// than the settings allow, and were cut off.
func (c *Client) Drain(ctx context.Context, epoch int64, node string) (cut int, err error) {
	return c.tell(ctx, "drain", Order{Epoch: epoch, Node: node})
}

// Admit lets the node get requests, now and whenever it is ready again.
func (c *Client) Admit(ctx context.Context, epoch int64, node string) error {
	_, err := c.tell(ctx, "admit", Order{Epoch: epoch, Node: node})
	return err
}

// Gate returns when the front holds new requests and none of the others is unanswered; cut is as for Drain.
func (c *Client) Gate(ctx context.Context, epoch int64) (cut int, err error) {
	return c.tell(ctx, "gate", Order{Epoch: epoch})
}

// Open sends on what the front holds, and what comes.
func (c *Client) Open(ctx context.Context, epoch int64) error {
	_, err := c.tell(ctx, "open", Order{Epoch: epoch})
	return err
}

// Route leads the writer endpoint to a primary: the regions where the caller has seen one, of which there must be exactly
// one. Connections to elsewhere are closed first; cut says how many.
func (c *Client) Route(ctx context.Context, epoch int64, primaries []string) (cut int, err error) {
	return c.tell(ctx, "route", Order{Epoch: epoch, Primaries: primaries})
}

// Hold lets new connections to the writer endpoint wait. Those that flow are left.
func (c *Client) Hold(ctx context.Context, epoch int64) error {
	_, err := c.tell(ctx, "hold", Order{Epoch: epoch})
	return err
}

// Shut closes the connections that the writer endpoint let through before this epoch.
func (c *Client) Shut(ctx context.Context, epoch int64) (cut int, err error) {
	return c.tell(ctx, "shut", Order{Epoch: epoch})
}

// Fence closes all connections to the writer endpoint, from wherever, and has it refuse new ones until a Route of a newer
// epoch. What the database had received by then, it may still carry out.
func (c *Client) Fence(ctx context.Context, epoch int64) (cut int, err error) {
	return c.tell(ctx, "fence", Order{Epoch: epoch})
}

// Upgrade has the binary that plane.json names take over, with the listeners that it declares now. It returns when that is
// so, or can't be and all is as before. The gate must be open.
func (c *Client) Upgrade(ctx context.Context, epoch int64) error {
	_, err := c.tell(ctx, "upgrade", Order{Epoch: epoch})
	return err
}

// End returns when the data plane and its keeper are gone; requests that it had were answered. Nodes are left as they are,
// and known again by the next Start. Where nothing runs, there is nothing to do.
func (c *Client) End(ctx context.Context, epoch int64) error {
	if _, err := c.tell(ctx, "end", Order{Epoch: epoch}); err != nil && !absent(err) {
		return err
	}
	lock, err := os.Open(filepath.Join(c.Dir, "keeper.lock"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for { // the keeper is the last to go, and holds it
		if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// absent tells that no data plane is there.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

func (c *Client) tell(ctx context.Context, command string, o Order) (cut int, err error) {
	var a Answer
	err = c.ask(ctx, http.MethodPost, command, o, &a)
	switch a.Code {
	case "":
	case codeOld:
		err = platform.ErrOldEpoch
	case codeInvalid:
		err = fmt.Errorf("%w: %s", ErrInvalid, a.Error)
	}
	if err != nil {
		return a.Cut, fmt.Errorf("data plane: %s: %w", command, err)
	}
	return a.Cut, nil
}

// ask asks again where the process that heard it was about to be replaced, or died: its keeper has another one in a moment. All that
// is asked may be asked again.
func (c *Client) ask(ctx context.Context, method, command string, body, into any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	for died := 0; ; {
		status, text, err := c.once(ctx, method, command, b)
		if cutOff(err) && died < mostDeaths && ctx.Err() == nil {
			died++
			continue
		}
		if err != nil {
			return err
		}
		if status == http.StatusServiceUnavailable {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			continue
		}
		if err := json.Unmarshal(text, into); err != nil {
			return fmt.Errorf("%s: %w", http.StatusText(status), err)
		}
		if a, ok := into.(*Answer); ok && status != http.StatusOK && a.Code == "" {
			return errors.New(a.Error)
		}
		return nil
	}
}

// mostDeaths is how often a process may die of what it is asked until that is believed.
const mostDeaths = 3

// cutOff tells that whoever heard us is gone. Where nobody heard us, the keeper is gone too.
func cutOff(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func (c *Client) once(ctx context.Context, method, command string, body []byte) (status int, text []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://dataplane/v1/"+command, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.Close = true // each by itself: the next may be another process's
	answer, err := c.http.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	text, err = io.ReadAll(answer.Body)
	return answer.StatusCode, text, err
}
