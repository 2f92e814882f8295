package reconcile_test

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile"
	"github.com/cloakwork/cloakwork/reconcile/git"
	"github.com/cloakwork/cloakwork/reconcile/keycloak"
	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
)

const named = "    displayName: Acme\n"

func TestPushIsAppliedAndSaidOnTheCommit(t *testing.T) {
	t.Parallel()
	s := newSource(t)
	p := s.start()
	commit := s.push("acme.yaml", realm("    clients: [{clientId: portal, name: Portal}]\n"))
	p.once()
	s.shows(commit, "REALM: success: 2 objects as declared", "validate: success: 1 realm declared")
	if diff := cmp.Diff([]string{"pending: applying: create 2: realm, clients/portal", "success: 2 objects as declared"}, p.forge.posts()); diff != "" {
		t.Error(diff)
	}
	p.once() // what was done is no longer said
	s.shows(commit, "REALM: success: 2 objects as declared", "validate: success: 1 realm declared")
	p.quiet()
	s.start().quiet()
}

func TestDriftIsFoundWhenTheScheduleIsDue(t *testing.T) {
	t.Parallel()
	for name, settings := range map[string]string{"the controller's": "", "the manifest's": "  schedule: \"@every 1s\"\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSource(t)
			p := s.start()
			p.Schedule = every(time.Second)
			if settings != "" {
				p.Schedule = every(time.Hour)
			}
			commit := s.push("acme.yaml", spec(settings, named))
			applied := p.once()[0]
			s.rename(s.name, "Evil")
			var report drift.Report
			eventually(t, "the schedule is due", func() bool {
				for _, r := range p.once() {
					report = r
				}
				return report.Verdict != ""
			})
			if settings == "" && report.Began.Sub(applied.Ended) < time.Second-10*time.Millisecond {
				t.Errorf("a pass at %s comes before the schedule's time; the first ended at %s", report.Began, applied.Ended)
			}
			if got := s.displayName(s.name); got != "Acme" {
				t.Errorf("the realm is called %q", got)
			}
			want := []string{"pending: applying: create 1: realm", "success: 1 object as declared",
				"failure: 1 drifted: realm (displayName)", "success: 1 object as declared"}
			if diff := cmp.Diff(want, p.forge.posts()); diff != "" {
				t.Error(diff)
			}
			s.shows(commit, "REALM: success: 1 object as declared", "validate: success: 1 realm declared")
		})
	}
}

func TestReportedDriftStaysAndCommitsAreStillApplied(t *testing.T) {
	t.Parallel()
	s := newSource(t)
	p := s.start()
	report := func(fields string) string { return spec("  drift: report\n", named+fields) }
	first := s.push("acme.yaml", report(""))
	p.once()
	s.rename(s.name, "Evil")
	p.once()
	p.once()
	s.shows(first, "REALM: failure: 1 drifted: realm (displayName)", "validate: success: 1 realm declared")

	second := s.push("acme.yaml", report("    clients: [{clientId: portal}]\n"))
	p.once()
	p.once()
	s.shows(second, "REALM: failure: 1 drifted: realm (displayName)", "validate: success: 1 realm declared")
	if got, clients := s.displayName(s.name), s.clients(); got != "Evil" || !cmp.Equal(clients, []string{"portal"}) {
		t.Errorf("the realm is called %q and has the clients %v", got, clients)
	}
}

func TestCommitWithProblemsTouchesNothingAndTheLastGoodStaysInForce(t *testing.T) {
	t.Parallel()
	s := newSource(t)
	p := s.start()
	s.push("acme.yaml", realm(named))
	s.push("other.yaml", strings.ReplaceAll(realm(named), "REALM", "OTHER"))
	p.once()
	dump := s.admin.Dump(s.name)

	good := s.push("other.yaml", strings.ReplaceAll(realm("    displayName: Other\n"), "REALM", "OTHER"))
	bad := s.push("acme.yaml", realm("    displayName: [Acme]\n    acessTokenLifespan: 300\n    clients: [{clientId: portal}]\n"))
	p.once()
	if diff := cmp.Diff(dump, s.admin.Dump(s.name)); diff != "" {
		t.Errorf("the realm with problems changed:\n%s", diff)
	}
	if got := s.displayName(s.other); got != "Other" {
		t.Errorf("the realm without problems is called %q", got)
	}
	problem := "acme.yaml:8:18: displayName: a list is not a string"
	s.shows(bad, "OTHER: success: 1 object as declared", "REALM: failure: "+problem, "validate: failure: 2 problems: "+problem)

	s.rename(s.name, "Evil")
	p.once()
	if got := s.displayName(s.name); got != "Acme" {
		t.Errorf("drift of the last good commit isn't repaired: the realm is called %q", got)
	}
	s.shows(good, "REALM: success: 1 object as declared")

	again := s.push("acme.yaml", realm("    displayName: Acme Inc.\n"))
	p.once()
	p.once()
	if got := s.displayName(s.name); got != "Acme Inc." {
		t.Errorf("the next good commit isn't applied: the realm is called %q", got)
	}
	s.shows(again, "OTHER: success: 1 object as declared", "REALM: success: 1 object as declared", "validate: success: 2 realms declared")
	p.quiet()
}

func TestUnreadableFileHoldsAllNewDeclarationsThroughRestarts(t *testing.T) {
	t.Parallel()
	s := newSource(t)
	p := s.start()
	s.push("other.yaml", strings.ReplaceAll(realm(named), "REALM", "OTHER"))
	good := s.push("acme.yaml", realm(named))
	p.once()
	s.push("other.yaml", strings.ReplaceAll(realm("    displayName: Other\n"), "REALM", "OTHER")+"\t- {")
	s.push("README.md", "acme")
	bad := s.push("acme.yaml", realm("    displayName: Acme Inc.\n"))

	says := "other.yaml:8: "
	held := func(name string, p *process) {
		t.Helper()
		s.rename(s.name, "Evil")
		s.rename(s.other, "Evil")
		if reports := p.once(); len(reports) != 2 {
			t.Errorf("%s: there are %d reports", name, len(reports))
		}
		if acme, other := s.displayName(s.name), s.displayName(s.other); acme != "Acme" || other != "Acme" {
			t.Errorf("%s: the realms are called %q and %q", name, acme, other)
		}
		if note := s.note(bad); strings.Count(note, ": failure: "+says) != 3 {
			t.Errorf("%s: the note of the bad commit is\n%s", name, note)
		}
		if note := s.note(good); strings.Count(note, ": success: ") != 3 {
			t.Errorf("%s: the note of the good commit is\n%s", name, note)
		}
	}
	held("the same process", p)
	held("a new process", s.start())
	s.mirror += "-of-another-machine"
	p = s.start()
	held("a new process with an empty mirror", p)

	mended := s.push("other.yaml", strings.ReplaceAll(realm("    displayName: Other\n"), "REALM", "OTHER"))
	p.once()
	if acme, other := s.displayName(s.name), s.displayName(s.other); acme != "Acme Inc." || other != "Other" {
		t.Errorf("after it was mended the realms are called %q and %q", acme, other)
	}
	s.shows(mended, "OTHER: success: 1 object as declared", "REALM: success: 1 object as declared",
		"validate: success: 2 realms declared")
}

func TestCommitThatChangesNothingForARealmWritesNothingThere(t *testing.T) {
	t.Parallel()
	s := newSource(t)
	p := s.start()
	s.push("acme.yaml", realm(named))
	p.once()
	mark := s.server.Mark(t)
	readme := s.push("README.md", "Our realms\n")
	p.once()
	for _, r := range keycloaktest.Writes(s.server.RequestsSince(t, mark, s.name)) {
		t.Errorf("it sent %s", r)
	}
	s.shows(readme, "REALM: success: 1 object as declared", "validate: success: 1 realm declared")
}

func TestRewrittenHistoryIsFollowedAlsoBackwards(t *testing.T) {
	t.Parallel()
	s := newSource(t)
	p := s.start()
	first := s.push("acme.yaml", realm(named+"    clients: [{clientId: portal}]\n"))
	p.once()
	s.push("acme.yaml", realm(named+"    clients: [{clientId: shop}]\n"))
	p.once()

	runGit(t, s.work, "reset", "-q", "--hard", first)
	runGit(t, s.work, "push", "-q", "--force", "origin", "main")
	p.once()
	if got := s.clients(); !cmp.Equal(got, []string{"portal"}) {
		t.Errorf("after the branch was set back the clients are %v", got)
	}
	if !strings.Contains(p.log.String(), "the history was rewritten") {
		t.Errorf("it isn't said:\n%s", p.log)
	}
	s.orphan()
	rewritten := s.push("acme.yaml", realm(named+"    clients: [{clientId: api}]\n"))
	p.once()
	if got := s.clients(); !cmp.Equal(got, []string{"api"}) {
		t.Errorf("after the history was replaced the clients are %v", got)
	}
	p.once()
	s.shows(rewritten, "REALM: success: 2 objects as declared", "validate: success: 1 realm declared")
}

func TestGitThatIsAwayOrLostItsBranchStopsNoRepair(t *testing.T) {
	t.Parallel()
	s := newSource(t)
	p := s.start()
	s.push("acme.yaml", realm(named))
	p.once()
	p.Post = nil // the notes are in git, too

	repaired := func(what string, p *process, says error) {
		t.Helper()
		s.rename(s.name, "Evil")
		if _, err := p.Once(t.Context()); !errors.Is(err, says) {
			t.Errorf("%s: the error is %v, want %v", what, err, says)
		}
		if got := s.displayName(s.name); got != "Acme" {
			t.Errorf("%s: the realm is called %q", what, got)
		}
	}
	runGit(t, s.bare, "update-ref", "-d", "refs/heads/main")
	runGit(t, s.bare, "branch", "kept", runGit(t, s.work, "rev-parse", "HEAD"))
	repaired("a vanished branch", p, git.ErrNoBranch)
	runGit(t, s.work, "push", "-q", "origin", "main")
	repaired("the branch is back", p, nil)

	if err := os.Rename(s.bare, s.bare+".away"); err != nil {
		t.Fatal(err)
	}
	repaired("no repository", p, git.ErrNotFound)
	again := s.start()
	again.Post = nil
	repaired("a process that begins without the repository", again, git.ErrNotFound)
	if err := os.Rename(s.bare+".away", s.bare); err != nil {
		t.Fatal(err)
	}
	s.push("acme.yaml", realm("    displayName: Acme Inc.\n"))
	again.once()
	if got := s.displayName(s.name); got != "Acme Inc." {
		t.Errorf("after git came back the realm is called %q", got)
	}
}

func TestForgeThatIsAwayFailsNoPassAndIsToldLater(t *testing.T) {
	t.Parallel()
	s := newSource(t)
	p := s.start()
	p.Schedule = every(time.Hour)
	p.forge.goAway(true)
	good := s.push("acme.yaml", realm(named))
	if r := p.once(); len(r) != 1 || r[0].Verdict != drift.InSync {
		t.Errorf("the reports are %v", r)
	}
	bad := s.push("acme.yaml", "apiVersion: cloakwork.dev/v1alpha1\nkind: Relm\n")
	p.once()
	if got := s.note(good) + s.note(bad); got != "" {
		t.Errorf("the forge that is away took %s", got)
	}
	p.forge.goAway(false)
	p.once()
	s.shows(good, "REALM: success: 1 object as declared", "validate: success: 1 realm declared")
	says := `failure: acme.yaml:2:7: kind "Relm" is not one of Realm, Deployment, Environment; did you mean Realm?`
	s.shows(bad, "REALM: "+says, "validate: "+says)
}

func TestDroppedRealmIsLeftAsItIsAndForgotten(t *testing.T) {
	t.Parallel()
	s := newSource(t)
	p := s.start()
	s.push("acme.yaml", realm(named))
	s.push("other.yaml", strings.ReplaceAll(realm(named), "REALM", "OTHER"))
	p.once()
	dump := s.admin.Dump(s.other)
	dropped := s.push("other.yaml", "")
	if r := p.once(); len(r) != 1 || r[0].Realm != s.name {
		t.Errorf("the reports are %v", r)
	}
	if diff := cmp.Diff(dump, s.admin.Dump(s.other)); diff != "" {
		t.Errorf("the dropped realm changed:\n%s", diff)
	}
	s.rename(s.other, "Somebody else's")
	p.once()
	s.start().once()
	if got := s.displayName(s.other); got != "Somebody else's" {
		t.Errorf("the dropped realm is called %q", got)
	}
	s.shows(dropped, "REALM: success: 1 object as declared", "validate: success: 1 realm declared")
}

func TestOneFailedRealmNeverStopsAnother(t *testing.T) {
	t.Parallel()
	s := newSource(t)
	p := s.start()
	clients := func(n int) string {
		text := named + "    clients:\n"
		for i := range n {
			text += "      - clientId: c" + strconv.Itoa(i) + "\n"
		}
		return spec("  limits: {deletes: 1}\n", text)
	}
	s.push("other.yaml", strings.ReplaceAll(realm(named), "REALM", "OTHER"))
	s.push("acme.yaml", clients(4))
	p.once()
	s.push("acme.yaml", clients(1))
	commit := s.push("other.yaml", strings.ReplaceAll(realm("    displayName: Other\n"), "REALM", "OTHER"))
	p.once()
	s.shows(commit, "OTHER: success: 1 object as declared", "REALM: failure: would delete 3 of 5 objects, the limit is 1",
		"validate: success: 2 realms declared")
	if got := s.clients(); len(got) != 4 {
		t.Errorf("of the clients %v are left", got)
	}
}

func TestSuspendedRealmIsLeftAloneUntilItsTime(t *testing.T) {
	t.Parallel()
	s := newSource(t)
	p := s.start()
	suspended := func(until string) string {
		return spec("  suspend: {until: "+until+", reason: migration}\n", named)
	}
	s.push("acme.yaml", realm(named))
	p.once()
	s.rename(s.name, "Migrating")
	mark := s.server.Mark(t)
	commit := s.push("acme.yaml", suspended("2926-12-01T08:00:00Z"))
	p.once()
	s.shows(commit, "REALM: success: suspended until 1 Dec: migration", "validate: success: 1 realm declared")
	if requests := s.server.RequestsSince(t, mark, s.name); len(requests) > 0 {
		t.Errorf("the suspended realm was asked: %v", requests)
	}
	commit = s.push("acme.yaml", suspended("2025-12-01T08:00:00Z"))
	p.once()
	s.shows(commit, "REALM: success: 1 object as declared", "validate: success: 1 realm declared")
}

func TestSuspendedRealmGoesOnAtThatTimeWhateverTheSchedule(t *testing.T) {
	t.Parallel()
	s := newSource(t)
	p := s.start()
	p.Schedule = every(time.Hour)
	var until time.Time
	for soon := 3 * time.Second; ; soon *= 2 { // a busy machine may take longer to come to look at it
		until = time.Now().Add(soon).UTC()
		s.push("acme.yaml", spec("  suspend: {until: \""+until.Format(time.RFC3339Nano)+"\"}\n", named))
		r := p.once()[0]
		if r.Verdict == drift.Suspended {
			break
		}
		if r.Began.Before(until) {
			t.Fatalf("the verdict is %s: %s", r.Verdict, r.Says)
		}
	}
	var reports []drift.Report
	eventually(t, "the realm is looked at", func() bool { reports = p.once(); return len(reports) > 0 })
	if r := reports[0]; r.Verdict != drift.InSync || r.Began.Before(until) {
		t.Errorf("at %s the verdict is %s: %s", r.Began, r.Verdict, r.Says)
	}
}

func TestOlderCommitIsSupersededByTheOneThatAnotherProcessApplied(t *testing.T) {
	t.Parallel()
	s := newSource(t)
	slow := s.start()
	s.mirror += "-of-another-machine"
	quick := s.start()
	s.push("acme.yaml", realm(named))
	slow.once()
	older := s.push("acme.yaml", realm("    displayName: Older\n"))
	var newer string
	connect := slow.Connect
	slow.Connect = func(server string) (*keycloak.Client, reconcile.Account, error) {
		if newer == "" { // the slow one has fetched the older commit
			newer = s.push("acme.yaml", realm("    displayName: Newer\n"))
			quick.once()
		}
		return connect(server)
	}
	slow.once()
	s.shows(older, "REALM: success: superseded by "+newer[:7], "validate: success: 1 realm declared")
	if got := s.displayName(s.name); got != "Newer" {
		t.Errorf("the realm is called %q", got)
	}
	slow.once()
	slow.once()
	s.shows(newer, "REALM: success: 1 object as declared", "validate: success: 1 realm declared")
}
