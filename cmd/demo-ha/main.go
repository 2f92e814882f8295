// Demo-ha shows servers that follow their git repository, while people use them: three nodes come up, a change rolls
// through them, a bad extension is refused, a node is killed; then two regions come up, the active one moves, is killed, and comes
// back. It runs the real program on what stands in examples/ha and examples/regions, counts what the people notice, and fails
// where that is more than it may be. It is run from the repository's root: make demo-ha
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
	"github.com/cloakwork/cloakwork/schema"
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

func demo(ctx context.Context) error {
	one := schema.Deployment{Name: "eu", Platform: "local", Active: "eu", Regions: []schema.Region{{Name: "eu"}}}
	two := schema.Deployment{Name: "eu", Platform: "local", Active: "paris", Regions: []schema.Region{{Name: "paris", Address: "127.0.1.1"}, {Name: "milan", Address: "127.0.2.1"}}}
	var rows []row
	for _, story := range []struct {
		example string
		is      schema.Deployment
		tell    func(*world, context.Context) ([]row, error)
	}{{"ha", one, (*world).servers}, {"regions", two, (*world).regions}} {
		if only := os.Getenv("ONLY"); only != "" && only != story.example {
			continue
		}
		w, err := newWorld(ctx, story.example, story.is)
		if err != nil {
			return err
		}
		told, err := story.tell(w, ctx)
		if err != nil {
			err = fmt.Errorf("%w\nthe end of the controller's log:\n%s", err, w.lastLines())
		}
		if err := errors.Join(err, w.destroy()); err != nil {
			return err
		}
		rows = append(rows, told...)
	}
	return table(rows)
}

// row is one thing that happened, and what came of it.
type row struct {
	what  string
	took  time.Duration
	sum   traffic.Sum
	end   string
	kills bool // something is killed, with what it was answering
}

// act is one thing that shall happen.
type act struct {
	what  string
	do    func(context.Context) (string, error)
	kills bool
}

// servers has three nodes come up, be changed, and be killed.
func (w *world) servers(ctx context.Context) ([]row, error) {
	return w.tell(ctx, "three nodes", 3,
		act{"a changed variable rolls through them", w.roll, false},
		act{"a bad extension", w.refuse, false},
		act{"a node is killed (-9), with no controller", w.kill, true})
}

// tell brings so many nodes up, and lets it happen while people use them.
func (w *world) tell(ctx context.Context, what string, nodes int, acts ...act) ([]row, error) {
	if err := w.commit(ctx, what, nil); err != nil {
		return nil, err
	}
	if err := w.start(); err != nil {
		return nil, err
	}
	w.say("a commit declares " + what + "; the controller brings them up")
	began := time.Now()
	if err := w.await(ctx, what, func(s platform.Seen) bool {
		return serving(s) == nodes && s.Record.Lifecycle == platform.Running && (len(w.is.Regions) < 2 || s.Record.Synced != "")
	}); err != nil {
		return nil, err
	}
	rows := []row{{what: what + " come up", took: time.Since(began), end: fmt.Sprintf("%d of %d serve", nodes, nodes)}}
	var fronts []traffic.Front
	for _, r := range w.is.Regions {
		admin, err := w.admin(ctx, w.front(r))
		if err != nil {
			return nil, err
		}
		defer admin.Close()
		fronts = append(fronts, traffic.Front{URL: w.front(r), Admin: admin})
	}
	if err := w.realm(ctx, fronts[0].Admin); err != nil {
		return nil, err
	}
	if err := traffic.Make(ctx, fronts[0].Admin); err != nil {
		return nil, err
	}
	for _, a := range acts {
		w.say(a.what)
		people := traffic.Start(fronts, 6, 250*time.Millisecond)
		began := time.Now()
		end, err := a.do(ctx)
		took := time.Since(began)
		sum, counted := people.Stop(ctx)
		if err := errors.Join(err, counted); err != nil {
			return nil, fmt.Errorf("%s: %w", a.what, err)
		}
		rows = append(rows, row{a.what, took, sum, end, a.kills})
	}
	return rows, nil
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

// table shows what came of it all. What is killed may take with it what it was answering, and hold people up until another serves;
// nothing else may be noticed, and nothing that was acknowledged be lost. Refused are requests that one front turned away and the
// other one took.
func table(rows []row) error {
	out := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(out, "\n\tseconds\trequests\tfailed\trefused\tform logins\tthrown out\tsessions\tlost\twrites\tgone\t")
	var bad []string
	for _, r := range rows {
		s := r.sum
		fmt.Fprintf(out, "%s\t%.0f\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", r.what, r.took.Seconds(), s.Requests, s.Failed, s.Refused, s.Forms, s.Thrown, s.Sessions, s.Lost, s.Writes, s.Gone, r.end)
		if s.Lost > 0 || s.Gone > 0 || !r.kills && (s.Failed > 0 || s.Thrown > 0) {
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
