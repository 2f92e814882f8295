package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// patience is how long a command, or what the controller is to do, may take.
const patience = 90 * time.Second

// expect is what a command has to come out as.
type expect struct {
	exit       int
	says       []string // parts of what it prints
	head, tail int      // how many lines of it are shown; 0 and 0 shows all
}

// run shows a command of cloakwork, runs it, shows what it prints, and makes sure that this is what was expected.
func (w *world) run(ctx context.Context, e expect, args ...string) error {
	w.command("cloakwork " + quoted(args))
	out, exit, err := w.capture(ctx, filepath.Join(w.dir, "bin", "cloakwork"), args...)
	if err != nil {
		return err
	}
	w.output(shortened(out, e.head, e.tail))
	if exit != e.exit {
		return fmt.Errorf("cloakwork %s: exit %d, not %d\n%s", args[0], exit, e.exit, out)
	}
	for _, part := range e.says {
		if !strings.Contains(out, part) {
			return fmt.Errorf("cloakwork %s doesn't say %q:\n%s", args[0], part, out)
		}
	}
	return nil
}

// shell shows a line, runs it as a shell would, and shows what it prints.
func (w *world) shell(ctx context.Context, line string) error {
	w.command(line)
	out, exit, err := w.capture(ctx, "sh", "-c", line)
	if err != nil {
		return err
	}
	w.output(out)
	if exit != 0 {
		return fmt.Errorf("%s: exit %d", line, exit)
	}
	return nil
}

// git runs git unseen, and gives what it prints.
func (w *world) git(ctx context.Context, args ...string) (string, error) {
	out, exit, err := w.capture(ctx, "git", args...)
	if err == nil && exit != 0 {
		err = fmt.Errorf("git %s: exit %d: %s", args[0], exit, out)
	}
	return strings.TrimSpace(out), err
}

// capture runs a program to its end and gives all that it prints. An exit code is no error.
func (w *world) capture(ctx context.Context, name string, args ...string) (out string, exit int, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := w.program(ctx, name, args...)
	var both bytes.Buffer
	cmd.Stdout, cmd.Stderr = &both, &both
	err = cmd.Run()
	var ended *exec.ExitError
	if ctx.Err() == nil && errors.As(err, &ended) {
		return both.String(), ended.ExitCode(), nil
	}
	return both.String(), 0, err
}

// until waits for a condition, while the controller runs.
func (w *world) until(ctx context.Context, what string, condition func() (bool, error)) error {
	defer w.during("waiting for " + what)()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := condition(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-w.ended:
			return fmt.Errorf("the controller ended before %s", what)
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, ctx.Err())
		}
	}
}

// shortened is the head and the tail of a text of many lines.
func shortened(text string, head, tail int) string {
	lines := strings.SplitAfter(strings.TrimRight(text, "\n")+"\n", "\n")
	lines = lines[:len(lines)-1]
	left := len(lines) - head - tail
	if head+tail == 0 || left <= 1 {
		return text
	}
	return strings.Join(lines[:head], "") + fmt.Sprintf("… %d more lines\n", left) + strings.Join(lines[len(lines)-tail:], "")
}

// quoted is a list of arguments as a shell takes it.
func quoted(args []string) string {
	var words []string
	for _, a := range args {
		if strings.ContainsAny(a, " *{}[]$\"") {
			a = "'" + a + "'"
		}
		words = append(words, a)
	}
	return strings.Join(words, " ")
}
