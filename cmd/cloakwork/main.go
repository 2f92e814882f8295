// Cloakwork keeps Keycloak as a git repository declares it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/git"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
)

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200) // what a pass reads, it needs until its end: this saves a fifth of the processor's time
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	code := newCLI(os.Stdin, os.Stdout, os.Stderr).execute(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// execute runs one command line and returns its exit code.
func (c *cli) execute(ctx context.Context, args []string) int {
	root := c.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var ended exit
	switch {
	case err == nil:
		return 0
	case errors.As(err, &ended):
		return int(ended)
	}
	c.complain(err)
	return 1
}

// exit ends the program with a code, when all has been said.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// advised is an error that comes with what to do about it.
type advised struct {
	error
	hint string
}

func (a advised) Unwrap() error { return a.error }

func advise(hint, format string, args ...any) error {
	return advised{fmt.Errorf(format, args...), hint}
}

// complain prints an error the way all verbs do: what is wrong, then what to do.
func (c *cli) complain(err error) {
	fmt.Fprintln(c.errs, c.paintErrs("error", "error:"), printable(err.Error()))
	if h := hint(err); h != "" {
		fmt.Fprintln(c.errs, c.paintErrs("hint", "hint:"), printable(h))
	}
}

// printable is text that is safe for a terminal and keeps its lines.
func printable(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = drift.Escape(l)
	}
	return strings.Join(lines, "\n")
}

// hint is what a person can do about an error; "" where its text says it, or nobody knows.
func hint(err error) string {
	var known advised
	var blocked *reconcile.Blocked
	var unreachable *keycloak.Unreachable
	switch {
	case errors.As(err, &known):
		return known.hint
	case errors.As(err, &blocked):
		return blocked.Hint
	case errors.As(err, &unreachable):
		return "check that Keycloak runs and that --server is its address"
	case errors.Is(err, git.ErrNoBranch):
		return "name a branch that is there by --branch"
	case errors.Is(err, git.ErrEmpty):
		return "push a first commit"
	case errors.Is(err, git.ErrRefused):
		return "give a token that may read the repository by --git-token-file or CLOAKWORK_GIT_TOKEN, or a key by --git-ssh-key-file"
	case errors.Is(err, git.ErrNoKey):
		return "give one by --git-ssh-key-file or CLOAKWORK_GIT_SSH_KEY"
	case errors.Is(err, git.ErrHostUnknown):
		return "compare the fingerprint with the one that the server's owner publishes, and add what ssh-keyscan prints to a file for --git-known-hosts"
	case errors.Is(err, git.ErrHostChanged):
		return "somebody may stand in between: ask the server's owner before you change known_hosts"
	case errors.Is(err, git.ErrNotFound), errors.Is(err, git.ErrUnreachable):
		return "check --repository"
	}
	return ""
}
