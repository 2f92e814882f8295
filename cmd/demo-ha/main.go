// Demo-ha shows servers that follow their git repository, while people use them: three nodes come up, a change rolls
// through them, a bad extension is refused, a node is killed. It runs the real program on what stands in examples/ha, counts
// what the people notice, and fails where that is anything. It is run from the repository's root: make demo-ha
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/local/traffic"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	err := demo(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func demo(ctx context.Context) (err error) {
	w, err := newWorld(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.destroy()) }()
	if err := w.tell(ctx); err != nil {
		return fmt.Errorf("%w\nthe end of the controller's log:\n%s", err, w.lastLines())
	}
	return nil
}

// row is one thing that happened, and what came of it.
type row struct {
	what string
	took time.Duration
	sum  traffic.Sum
	end  string
}

// tell lets it happen.
func (w *world) tell(ctx context.Context) error {
	if err := w.commit(ctx, "three nodes", nil); err != nil {
		return err
	}
	if err := w.start(); err != nil {
		return err
	}
	w.say("a commit declares three nodes; the controller brings them up")
	began := time.Now()
	if err := w.await(ctx, "three nodes", func(s platform.Seen) bool { return serving(s) == 3 && s.Record.Lifecycle == platform.Running }); err != nil {
		return err
	}
	rows := []row{{"three nodes come up", time.Since(began), traffic.Sum{}, "3 of 3 serve"}}
	admin, err := w.admin(ctx)
	if err != nil {
		return err
	}
	defer admin.Close()
	if err := w.realm(ctx, admin); err != nil {
		return err
	}
	if err := traffic.Make(ctx, admin); err != nil {
		return err
	}
	for _, act := range []struct {
		what string
		do   func(context.Context) (string, error)
	}{
		{"a changed variable rolls through them", w.roll},
		{"a bad extension", w.refuse},
		{"a node is killed (-9), with no controller", w.kill},
	} {
		w.say(act.what)
		people := traffic.Start([]traffic.Front{{URL: w.front(), Admin: admin}}, 6, 250*time.Millisecond)
		began := time.Now()
		end, err := act.do(ctx)
		took := time.Since(began)
		sum, counted := people.Stop(ctx)
		if err := errors.Join(err, counted); err != nil {
			return fmt.Errorf("%s: %w", act.what, err)
		}
		rows = append(rows, row{act.what, took, sum, end})
	}
	return w.table(rows)
}

// roll changes what all nodes run, and counts how many serve meanwhile.
func (w *world) roll(ctx context.Context) (string, error) {
	err := w.commit(ctx, "another motto", func(s string) string { return strings.Replace(s, "value: first", "value: second", 1) })
	if err != nil {
		return "", err
	}
	least := 3
	began := w.epoch
	err = w.await(ctx, "all with the new variable", func(s platform.Seen) bool {
		least = min(least, admitted(s))
		return s.Record.Lifecycle == platform.Running && s.Record.Epoch > began && s.Record.To.Revision == s.Record.Good.Revision && w.moved(s) && serving(s) == 3
	})
	return fmt.Sprintf("3 of 3 run it, %d served at least", least), err
}

// refuse declares an extension that is no jar, and takes it back.
func (w *world) refuse(ctx context.Context) (string, error) {
	sum, err := w.write("extensions/audit.jar", []byte("this is no jar"))
	if err != nil {
		return "", err
	}
	add := func(s string) string {
		return s + "  extensions: [{name: audit, path: extensions/audit.jar, sha256: " + sum + "}]\n"
	}
	if err := w.commit(ctx, "an extension", add); err != nil {
		return "", err
	}
	why := ""
	least := 3
	if err := w.await(ctx, "the refusal", func(s platform.Seen) bool {
		least, why = min(least, admitted(s)), s.Record.Fault.Why
		return s.Record.Lifecycle == platform.Error
	}); err != nil {
		return "", err
	}
	first, _, _ := strings.Cut(why, "\n")
	w.say("  refused: " + first)
	if err := w.commit(ctx, "without it", func(s string) string { return strings.Replace(s, add(""), "", 1) }); err != nil {
		return "", err
	}
	err = w.await(ctx, "RUNNING again", func(s platform.Seen) bool {
		least = min(least, admitted(s))
		return s.Record.Lifecycle == platform.Running
	})
	return fmt.Sprintf("refused before any node, %d served all the time", least), err
}

// kill ends a node while no controller runs.
func (w *world) kill(ctx context.Context) (string, error) {
	if err := w.stop(); err != nil {
		return "", err
	}
	if err := w.killNode(ctx, "eu-1"); err != nil {
		return "", err
	}
	if err := w.await(ctx, "the node to be dead", func(s platform.Seen) bool { return serving(s) == 2 }); err != nil {
		return "", err
	}
	err := w.await(ctx, "the node to be back", func(s platform.Seen) bool { return serving(s) == 3 })
	return "back by itself", err
}

// admitted is how many nodes get requests.
func admitted(s platform.Seen) (n int) {
	for _, node := range s.Nodes {
		if node.Serves() {
			n++
		}
	}
	return n
}

// serving is how many of them see their whole cluster too.
func serving(s platform.Seen) (n int) {
	for _, node := range s.Nodes {
		if node.Serves() && node.View == s.Cluster(node.Region) {
			n++
		}
	}
	return n
}

// table shows what came of it all. A node that is killed may take with it what it was answering; nothing else may be noticed.
func (w *world) table(rows []row) error {
	out := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(out, "\n\tseconds\trequests\tfailed\tform logins\tthrown out\tsessions\tlost\twrites\tgone\t")
	var bad []string
	for i, r := range rows {
		s := r.sum
		fmt.Fprintf(out, "%s\t%.0f\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", r.what, r.took.Seconds(), s.Requests, s.Failed, s.Forms, s.Thrown, s.Sessions, s.Lost, s.Writes, s.Gone, r.end)
		killed := i == len(rows)-1
		if s.Lost > 0 || s.Gone > 0 || !killed && (s.Failed > 0 || s.Thrown > 0) {
			bad = append(bad, fmt.Sprintf("%s: %s: %q", r.what, s, s.Fails))
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if len(bad) > 0 {
		return errors.New("somebody noticed: " + strings.Join(bad, "; "))
	}
	return nil
}
