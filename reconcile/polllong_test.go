package reconcile_test

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cloakwork/cloakwork/drift/status"
)

// TestHundredCommitsPushedQuickly shows that a long life leaves nothing behind: no status, no memory, no files.
func TestHundredCommitsPushedQuickly(t *testing.T) {
	s := newSource(t)
	p := s.start()
	p.Interval, p.Schedule = 50*time.Millisecond, every(time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- p.Run(ctx) }()

	var commits []string
	push := func(until int) {
		for len(commits) < until {
			commits = append(commits, s.push("acme.yaml", s.commit(len(commits)+1)))
		}
		eventually(t, "the newest commit is in sync", func() bool {
			all := p.forge.statuses()
			return slices.ContainsFunc(all, func(st status.Status) bool {
				return st.Commit == commits[until-1] && st.State == status.Success && strings.HasSuffix(st.Context, s.name)
			})
		})
	}
	push(20)
	early := liveHeap()
	push(100)
	late := liveHeap()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("it ends with %v", err)
	}
	t.Logf("live heap: %d kB after 20 commits, %d kB after 100; %d statuses", early/1024, late/1024, len(p.forge.statuses()))
	if late > early*6/5 {
		t.Errorf("the live heap grew from %d to %d bytes", early, late)
	}
	runtime.KeepAlive(p)

	if got, want := s.clients(), s.commitClients(100); !slices.Equal(got, want) {
		t.Errorf("the clients are %v, want %v", got, want)
	}
	portal := s.admin.Get(s.below("portal", "")).(map[string]any)
	if got := portal["attributes"].(map[string]any)["n"]; got != "100" {
		t.Errorf("the newest commit isn't applied: n is %v", got)
	}
	s.inOrder(commits, p.forge.statuses())
	if notes := runGit(t, s.bare, "log", "--notes=cloakwork", "--format=%N", "main"); strings.Contains(notes, ": pending: ") ||
		!strings.Contains(notes, ": success: ") {
		t.Errorf("git shows the notes\n%s", notes)
	}
	packs, err := filepath.Glob(filepath.Join(s.mirror, "objects", "pack", "*.pack"))
	if err != nil || len(packs) > 17 {
		t.Errorf("the mirror has %d packs: %v", len(packs), err)
	}
}

// commit is the manifest of the n-th commit: one client changes each time, others come and go.
func (s *source) commit(n int) string {
	text := "    clients:\n"
	for _, c := range s.commitClients(n) {
		text += "      - clientId: " + c + "\n"
		if c == "portal" {
			text += fmt.Sprintf("        attributes: {n: \"%d\"}\n", n)
		}
	}
	return realm(text)
}

func (s *source) commitClients(n int) []string {
	clients := []string{"portal"}
	for bit := range 3 {
		if n>>bit&1 == 1 {
			clients = append(clients, "c"+strconv.Itoa(bit))
		}
	}
	slices.Sort(clients)
	return clients
}

// inOrder expects that no commit gets a status after a newer one has its final verdict, and that none is left pending.
func (s *source) inOrder(commits []string, statuses []status.Status) {
	s.t.Helper()
	final := map[string]int{}
	last := map[status.Status]status.State{}
	for _, st := range statuses {
		n := slices.Index(commits, st.Commit)
		if n < final[st.Context] {
			s.t.Errorf("commit %d gets %v after commit %d had its final verdict", n+1, st, final[st.Context]+1)
		}
		if st.State != status.Pending {
			final[st.Context] = n
		}
		last[status.Status{Commit: st.Commit, Context: st.Context}] = st.State
	}
	for of, state := range last {
		if state != status.Success {
			s.t.Errorf("the last status of %.7s under %s is %s", of.Commit, of.Context, state)
		}
	}
}

// liveHeap is what is still in use after the garbage is gone. The controller goes on meanwhile, so the least of several
// looks counts.
func liveHeap() uint64 {
	least := ^uint64(0)
	for range 10 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		least = min(least, m.HeapAlloc)
	}
	return least
}
