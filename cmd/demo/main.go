// Demo shows a realm that follows its git repository, on a real Keycloak that it starts for that. It runs the real
// program for every step and fails where a step doesn't come out as it says. It is run from the repository's root:
//
//	make demo                a bare repository; statuses are git notes
//	make demo FORGE=gitea    a real Gitea; statuses are its commit statuses
//	make demo KEEP=1         everything is left running, and its addresses are printed
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	keep := os.Getenv("KEEP") != "" && os.Getenv("KEEP") != "0"
	if !isKeeper() && keep {
		os.Exit(detach())
	}
	// Nothing may be left running, also where the terminal goes away, or whoever reads the output.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	err := demo(ctx, os.Getenv("FORGE"), keep)
	stop()
	if err != nil {
		os.Exit(1)
	}
}

// demo builds a world, tells the story in it, and takes the world down again; with keep, when it is told to end.
func demo(ctx context.Context, forge string, keep bool) (err error) {
	began := time.Now()
	s := newScreen(os.Stdout)
	s.title("A realm that follows its git repository, on a Keycloak of its own")
	w, err := newWorld(ctx, s, forge)
	if err != nil {
		return s.ended(ctx, err)
	}
	defer func() {
		done := s.during("stopping what was started")
		stopped := w.stop()
		done()
		if stopped != nil {
			s.fail(stopped)
		}
		err = errors.Join(err, stopped)
	}()
	if err := story(ctx, w); err != nil {
		if log := w.logs(); log != "" && ctx.Err() == nil {
			s.say("The end of the controller's log:")
			s.output(log)
		}
		return s.ended(ctx, err)
	}
	s.title(fmt.Sprintf("All of this happened as told, in %d s", int(time.Since(began).Seconds())))
	if keep {
		s.output(w.addresses())
		release()
		<-ctx.Done()
	}
	return nil
}
