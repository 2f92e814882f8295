package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/reconcile/realm"
	"github.com/cloakwork/cloakwork/schema"
)

// conclude gives the report its verdict and its sentence.
func conclude(r *drift.Report, mode Mode, err error) {
	var blocked *Blocked
	var missing *realm.MissingRole
	var newer *superseded
	var left *incomplete
	switch {
	case err == nil && r.Verdict == drift.Suspended:
		return
	case err == nil && mode == Drift && len(r.Changes) > 0: // all of it, whatever its cause
		r.Verdict, r.Says = drift.Drifted, drift.SayDrift(r.Changes)
		return // its notes say what wasn't looked at
	case err == nil:
		r.Verdict, r.Says = drift.Judge(r.Objects, r.Changes, r.Unseen)
		if len(r.Blind) > 0 {
			r.Says = drift.Sentence(r.Says + "; can't see " + strings.Join(r.Blind, " and "))
		}
		return
	case errors.As(err, &newer):
		r.Verdict = drift.Superseded
	case errors.As(err, &blocked):
		r.Verdict, r.Hint = drift.Blocked, blocked.Hint
	case errors.As(err, &missing):
		r.Verdict, r.Hint = drift.Blocked, giveRole
	case errors.As(err, &left) && left.Lacks != "":
		r.Verdict, r.Hint = drift.Errored, giveRole
	case keycloak.IsForbidden(err):
		r.Verdict, r.Hint = drift.Errored, "give the account the manage-… role for this path"
	default:
		r.Verdict = drift.Errored
	}
	says := err.Error()
	if errors.Is(err, context.Canceled) {
		says = "stopped before the end; another pass goes on from there"
	}
	r.Says = drift.Sentence(says)
}

const giveRole = "give the account that role, or let another account sign in"

// waits tells whether it is of no use to try again soon after an error: a person, or a newer commit, must come first.
func waits(err error) bool {
	var blocked *Blocked
	var newer *superseded
	var missing *realm.MissingRole
	var left *incomplete
	return errors.As(err, &blocked) || errors.As(err, &newer) || errors.As(err, &missing) || errors.As(err, &left) && left.waits
}

// suspended says how long a realm is held as it is, and why, and what follows.
func suspended(s schema.Suspend, what string) string {
	says := "suspended"
	if !s.Until.IsZero() {
		says = fmt.Sprintf("suspended until %s", s.Until.Format("2 Jan"))
	}
	if s.Reason != "" {
		says += ": " + s.Reason
	}
	return drift.Sentence(says + what)
}

// unfinished is why the changes are not all made; nil where they are.
func unfinished(changes []drift.Change) error {
	for _, o := range []drift.Outcome{drift.Failed, drift.Skipped} {
		for _, c := range changes {
			if c.Outcome == o {
				return &incomplete{c, !slices.ContainsFunc(changes, func(c drift.Change) bool { return c.Outcome == drift.Failed && c.Lacks == "" })}
			}
		}
	}
	return nil
}

// incomplete is the error of a pass that didn't make all changes: the first of those.
type incomplete struct {
	drift.Change
	waits bool // nothing failed but for a role that the account lacks: it is of no use to try again soon
}

func (i *incomplete) Error() string {
	return fmt.Sprintf("%s %s: %s: %s", i.Op, i.Address, i.Outcome, i.Change.Says)
}
