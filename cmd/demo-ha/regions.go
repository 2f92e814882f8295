package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/platform"
)

// regions has two regions of two nodes come up, be changed, change places, and one of them be killed.
func (w *world) regions(ctx context.Context) ([]row, error) {
	return w.tell(ctx, "two regions of two nodes", 4,
		act{"a changed variable rolls through both regions", w.rollAll, false},
		act{"a commit moves the active region to milan", func(ctx context.Context) (string, error) { return w.move(ctx, "paris", "milan") }, false},
		act{"all of milan is killed (-9), and comes back", w.killRegion, true})
}

func (w *world) rollAll(ctx context.Context) (string, error) {
	if err := w.commit(ctx, "another motto", func(s string) string { return strings.Replace(s, "value: first", "value: second", 1) }); err != nil {
		return "", err
	}
	least := 4
	err := w.await(ctx, "all with the new variable", func(s platform.Seen) bool {
		least = min(least, admitted(s))
		return s.Record.Lifecycle == platform.Running && w.moved(s) && serving(s) == 4
	})
	return fmt.Sprintf("4 of 4 run it, %d served at least", least), err
}

// move declares another active region, and returns when that serves and the other one follows.
func (w *world) move(ctx context.Context, from, to string) (string, error) {
	if err := w.commit(ctx, "active: "+to, func(s string) string { return strings.Replace(s, "active: "+from, "active: "+to, 1) }); err != nil {
		return "", err
	}
	err := w.await(ctx, to+" to be the active region", func(s platform.Seen) bool { return active(s, to) && follows(s, from) })
	return to + " serves, " + from + " follows", err
}

func active(s platform.Seen, region string) bool {
	return s.Record.Active == region && s.Record.Toward == "" && slices.ContainsFunc(s.Nodes, func(n platform.Node) bool { return n.Region == region && n.Serves() })
}

// follows tells whether a region is a standby that has all that is acknowledged.
func follows(s platform.Seen, region string) bool {
	r, _ := s.Region(region)
	return r.Role == platform.Standby && r.Streaming && r.Synchronous && r.Lost.IsZero() && s.Record.Synced == region
}

// killRegion ends all that runs in milan at once. It is back when paris has taken over, and git says so too.
func (w *world) killRegion(ctx context.Context) (string, error) {
	seen, err := w.plane("milan").Look(ctx)
	if err != nil {
		return "", err
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", seen.PID))
	if err != nil {
		return "", err
	}
	keeper, err := strconv.Atoi(string(bytes.Fields(stat[bytes.LastIndexByte(stat, ')'):])[2]))
	if err != nil {
		return "", err
	}
	pids := []int{keeper, seen.PID}
	for _, n := range seen.Nodes {
		if n.PID > 0 {
			pids = append(pids, n.PID)
		}
	}
	began := time.Now()
	for _, signal := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} { // or one would see another die
		for _, pid := range pids {
			if err := syscall.Kill(pid, signal); err != nil {
				return "", fmt.Errorf("kill %d: %w", pid, err)
			}
		}
	}
	if err := w.await(ctx, "paris to take over", func(s platform.Seen) bool { return active(s, "paris") }); err != nil {
		return "", err
	}
	after := time.Since(began)
	w.say(fmt.Sprintf("  paris serves %.0f s after the kill, against what git says", after.Seconds()))
	if _, err := w.move(ctx, "milan", "paris"); err != nil {
		return "", err
	}
	err = w.await(ctx, "milan to be back", func(s platform.Seen) bool { return serving(s) == 4 })
	return fmt.Sprintf("paris served after %.0f s, milan is back and follows", after.Seconds()), err
}
