package rollout_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/rollout"
	"github.com/cloakwork/cloakwork/schema"
)

// both declares two regions of two nodes.
func both(change ...func(*schema.Deployment)) schema.Deployment {
	d := eu(v3)
	d.Instances, d.Regions = 2, []schema.Region{{Name: "paris"}, {Name: "milan"}}
	d.DB = schema.Database{Replication: "synchronous", WhenStandbyLost: "wait"}
	d.Failover = schema.Failover{Mode: "automatic", After: schema.Duration(5 * time.Second)}
	for _, c := range change {
		c(&d)
	}
	return d
}

func milan(d *schema.Deployment)        { d.Active = "milan" }
func manual(d *schema.Deployment)       { d.Failover.Mode = "manual" }
func asynchronous(d *schema.Deployment) { d.DB.Replication = "asynchronous" }
func degrades(d *schema.Deployment)     { d.DB.WhenStandbyLost = "degrade" }
func coldly(d *schema.Deployment)       { d.Standby = "cold" }

// pair is both regions at work: paris writes, and milan has all that it acknowledges.
func pair(change ...func(*platform.Seen)) platform.Seen {
	s := platform.Seen{Record: platform.Record{Lifecycle: platform.Running, Epoch: 10, Active: "paris", Moved: 5, Synced: "milan", To: v3, Good: v3, At: noon.Add(-time.Hour)}}
	s.Record.Step = drift.Step{Verb: drift.Follow, Region: "milan", Epoch: 5}
	s.Move = platform.Move{Step: s.Record.Step, State: platform.Done}
	s.Regions = []platform.Region{
		{Name: "milan", View: "paris", Role: platform.Standby, Epoch: 5, Streaming: true, Synchronous: true, LSN: 1000},
		{Name: "paris", View: "paris", Role: platform.Primary, Epoch: 2, LSN: 1000},
	}
	for _, region := range []string{"milan", "paris"} {
		for i := range 2 {
			s.Nodes = append(s.Nodes, platform.Node{Name: fmt.Sprint(region, "-", i), Region: region, Revision: v3.Revision, Version: v3.Version, Ready: true, In: true, View: 4})
		}
	}
	for _, c := range change {
		c(&s)
	}
	return s
}

func there(name string, change func(*platform.Region)) func(*platform.Seen) {
	return func(s *platform.Seen) {
		for i := range s.Regions {
			if s.Regions[i].Name == name {
				change(&s.Regions[i])
			}
		}
	}
}

func gone(name string, ago time.Duration) func(*platform.Seen) {
	return func(s *platform.Seen) {
		there(name, func(r *platform.Region) { r.Lost = noon.Add(-ago) })(s)
		there("milan", func(r *platform.Region) { r.Streaming = false })(s)
	}
}

func gated(r *platform.Region)  { r.Gated = true }
func fenced(r *platform.Region) { r.Role, r.Synchronous, r.Streaming = platform.Fenced, false, false }
func primary(r *platform.Region) {
	r.Role, r.Epoch, r.Synchronous, r.Streaming = platform.Primary, 12, false, false
}

// after is on the way to a region, when a step has come to a state.
func after(toward string, verb drift.Verb, region string, state platform.MoveState, why string) func(*platform.Seen) {
	return func(s *platform.Seen) {
		s.Record.Toward, s.Record.Epoch, s.Record.Moved, s.Record.At = toward, 12, 12, noon
		s.Record.Step = drift.Step{Verb: verb, Region: region, Epoch: 12}
		s.Move = platform.Move{Step: s.Record.Step, State: state, Why: why}
	}
}

func record(change func(*platform.Record)) func(*platform.Seen) {
	return func(s *platform.Seen) { change(&s.Record) }
}

func justFollowed(s *platform.Seen) { s.Record.At = noon }

func served(s *platform.Seen) { // milan does, after paris was lost
	s.Record.Active, s.Record.Override, s.Record.Declared, s.Record.Synced, s.Record.Since = "milan", "milan", "paris", "", noon.Add(-time.Hour)
	there("milan", primary)(s)
	there("paris", fenced)(s)
}

func TestEachDecisionAboutRegionsSaysWhatAndWhy(t *testing.T) {
	wedged := "the host doesn't answer"
	for _, c := range []struct {
		name string
		want schema.Deployment
		have platform.Seen
		step string
		says string
	}{
		{"all is well", both(), pair(), "", "in sync: eu: 4 of 4 nodes serve"},

		// A switchover.
		{"another region is declared", both(milan), pair(), "gate milan", "progressing: eu: paris → milan; holding requests of milan (the active region moves to milan)"},
		{"then the one that serves", both(milan), pair(after("milan", drift.Gate, "milan", platform.Done, ""), there("milan", gated)), "gate paris",
			"progressing: eu: paris → milan; holding requests of paris (the active region moves to milan)"},
		{"then it is fenced", both(milan), pair(after("milan", drift.Gate, "paris", platform.Done, ""), there("milan", gated), there("paris", gated)), "fence paris",
			"progressing: eu: paris → milan; fencing paris (milan is to write)"},
		{"then milan is promoted", both(milan), pair(after("milan", drift.Fence, "paris", platform.Done, ""), there("paris", fenced)), "promote milan",
			"progressing: eu: paris → milan; promoting milan (paris is fenced and has given all)"},
		{"not before it has all", both(milan), pair(after("milan", drift.Fence, "paris", platform.Done, ""), there("paris", fenced), there("paris", func(r *platform.Region) { r.LSN = 1048 })), "",
			"progressing: eu: paris → milan; milan gets the last 48 bytes from paris"},
		{"and never without", both(milan), pair(after("milan", drift.Fence, "paris", platform.Done, ""), there("paris", fenced), there("paris", func(r *platform.Region) { r.LSN = 1048 }),
			record(func(r *platform.Record) { r.At = noon.Add(-time.Minute) })), "", "progressing: eu: back to paris; gives up: milan lacks 48 bytes of what paris has written"},
		{"then paris is the primary again", both(milan), pair(after("paris", drift.Fence, "paris", platform.Done, ""), there("paris", fenced)), "promote paris",
			"progressing: eu: back to paris; promoting paris (paris is fenced and has given all)"},
		{"what was given up isn't begun again at once", both(milan), pair(record(func(r *platform.Record) {
			r.GaveUp = platform.GaveUp{At: noon.Add(-time.Minute), Why: "gate milan: no"}
		})), "",
			"blocked: eu: would move from paris to milan again at 12:04; gave up: gate milan: no"},
		{"the old one follows", both(milan), pair(after("milan", drift.Promote, "milan", platform.Done, ""), served, there("milan", gated), there("paris", gated)), "follow paris",
			"progressing: eu: to milan; making a standby of paris (milan is the primary)"},
		{"then the front opens", both(milan), pair(after("milan", drift.Follow, "paris", platform.Done, ""), served, there("milan", gated), there("paris", gated), there("paris", func(r *platform.Region) {
			r.Role, r.Streaming, r.Synchronous, r.Epoch = platform.Standby, true, true, 13
		})), "open milan", ""},
		{"also where the old one can't follow", both(milan), pair(after("milan", drift.Follow, "paris", platform.Failed, "disk full"), served, there("milan", gated), there("paris", gated)), "open milan", ""},
		{"what failed long ago isn't in the way", both(milan), pair(after("", drift.Fence, "paris", platform.Failed, wedged), record(func(r *platform.Record) {
			r.Step, r.At, r.GaveUp = drift.Step{}, noon.Add(-time.Hour), platform.GaveUp{At: noon.Add(-time.Hour), Why: wedged}
		}), there("milan", gated), there("paris", gated)), "fence paris", ""},
		{"a standby that doesn't stream", both(milan), pair(there("milan", func(r *platform.Region) { r.Streaming, r.Lag = false, 12_345 }), record(func(r *platform.Record) { r.Apart = noon })), "",
			"blocked: eu: would move from paris to milan: milan doesn't stream, it is 12 kB behind"},
		{"one that isn't synchronous", both(milan), pair(record(func(r *platform.Record) { r.Synced, r.Step = "", drift.Step{} }), there("milan", func(r *platform.Region) { r.Synchronous = false }), justFollowed), "",
			"blocked: eu: would move from paris to milan: milan isn't synchronous, it is 0 bytes behind"},
		{"is fine where that is declared", both(milan, asynchronous), pair(record(func(r *platform.Record) { r.Synced, r.Step = "", drift.Step{} }), there("milan", func(r *platform.Region) { r.Synchronous = false })), "gate milan", ""},
		{"no node that is ready", both(milan), pair(on(0, dead), on(1, dead)), "", "blocked: eu: would move from paris to milan: no node of milan is ready"},
		{"a window holds it", both(milan, windowed), pair(), "", "pending: eu: would move from paris to milan, waits for its window on 3 Aug 20:00 UTC"},
		{"but no person", both(windowed), pair(record(func(r *platform.Record) { r.Override, r.Declared = "milan", "paris" })), "gate milan", ""},
		{"a roll ends first", both(milan), pair(record(func(r *platform.Record) {
			r.Lifecycle, r.How, r.Good = platform.Starting, platform.Roll, v2
		})), "", "pending: eu: would move from paris to milan, when the nodes are done"},
		{"a cold standby starts first", both(milan, coldly), pair(on(0, halted), on(1, halted)), "start milan-0", "progressing: eu: paris → milan; starting milan-0 (milan becomes the active region)"},
		{"another cluster starts anew behind the gates", both(milan), pair(after("milan", drift.Gate, "paris", platform.Done, ""), there("milan", gated), there("paris", gated), there("milan", func(r *platform.Region) { r.View = "milan" })),
			"stop milan", "progressing: eu: paris → milan; stopping milan (its cluster isn't that of paris)"},
		{"the commit is taken back", both(), pair(after("milan", drift.Gate, "paris", platform.Done, ""), there("milan", gated), there("paris", gated)), "", "progressing: eu: paris serves, and shall"},
		{"and all is opened", both(), pair(after("", drift.Gate, "paris", platform.Done, ""), there("milan", gated), there("paris", gated)), "open milan", ""},

		// A failover.
		{"paris is lost", both(), pair(gone("paris", 2*time.Second)), "", "drifted: eu: paris hasn't answered since 11:59:58; milan takes over at 12:00:03"},
		{"for long enough", both(), pair(gone("paris", 5*time.Second)), "fence paris", "progressing: eu: paris → milan; fencing paris (paris hasn't answered since 11:59:55)"},
		{"a window holds no failover", both(windowed), pair(gone("paris", 5*time.Second)), "fence paris", ""},
		{"which waits for a step under way", both(), pair(gone("paris", 5*time.Second), func(s *platform.Seen) {
			s.Move = platform.Move{Step: drift.Step{Verb: drift.Replace, Node: "paris-0", Epoch: 10}, State: platform.Doing}
		}), "", "progressing: eu: paris hasn't answered since 11:59:55; waits for the end of replace paris-0"},
		{"and takes over from a roll", both(), pair(gone("paris", 5*time.Second), rolling(v8, of(drift.Drain, "paris-0"), platform.Failed, "no answer")), "fence paris", ""},
		{"it can't be fenced", both(), pair(gone("paris", time.Minute), after("milan", drift.Fence, "paris", platform.Failed, wedged)), "",
			"blocked: eu: paris → milan; fence paris failed: the host doesn't answer"},
		{"and that is tried again", both(), pair(gone("paris", time.Minute), after("milan", drift.Fence, "paris", platform.Failed, wedged), record(func(r *platform.Record) { r.At = noon.Add(-pause) })), "fence paris", ""},
		{"until it is back", both(), pair(after("milan", drift.Fence, "paris", platform.Failed, wedged)), "", "progressing: eu: paris serves, and shall"},
		{"it is fenced", both(), pair(gone("paris", time.Minute), after("milan", drift.Fence, "paris", platform.Done, ""), there("paris", fenced)), "promote milan",
			"progressing: eu: paris → milan; promoting milan (paris is lost, and fenced)"},
		{"the standby hadn't all", both(), pair(gone("paris", time.Minute), record(func(r *platform.Record) { r.Synced = "" })), "",
			"blocked: eu: paris hasn't answered since 11:59:00; nobody can take over: milan may lack what was acknowledged"},
		{"asynchronous loses the last moment", both(asynchronous), pair(gone("paris", time.Minute), record(func(r *platform.Record) { r.Synced, r.Apart = "", noon.Add(-61*time.Second) })), "fence paris", ""},
		{"but not an hour", both(asynchronous), pair(gone("paris", time.Minute), record(func(r *platform.Record) { r.Synced, r.Apart = "", noon.Add(-time.Hour) })), "",
			"blocked: eu: paris hasn't answered since 11:59:00; nobody can take over: milan hasn't streamed since 11:00:00"},
		{"manual asks", both(manual), pair(gone("paris", time.Minute)), "", "blocked: eu: paris hasn't answered since 11:59:00; milan can take over, by your word"},
		{"and does as told", both(manual), pair(gone("paris", time.Second), record(func(r *platform.Record) { r.Override, r.Declared = "milan", "paris" })), "fence paris", ""},
		{"suspended", both(func(d *schema.Deployment) { d.Suspend = &schema.Suspend{Reason: "migration"} }), pair(gone("paris", time.Minute)), "", "suspended: eu: suspended: migration"},

		// After it.
		{"the lost one is away", both(), pair(served, gone("paris", time.Hour), after("", drift.Promote, "milan", platform.Done, "")), "",
			"drifted: eu: milan serves; paris hasn't answered since 11:00:00; writes don't wait for it"},
		{"it is back, unfenced", both(), pair(served, after("", drift.Promote, "milan", platform.Done, ""), there("paris", primary)), "fence paris",
			"progressing: eu: fencing paris (it is a primary too, beside milan)"},
		{"it comes back as a standby", both(), pair(served, after("", drift.Promote, "milan", platform.Done, "")), "follow paris", "progressing: eu: making a standby of paris (fenced, and back)"},
		{"and stays one", both(), pair(served, after("", drift.Follow, "paris", platform.Done, ""), there("paris", func(r *platform.Region) {
			r.Role, r.Streaming, r.Synchronous, r.Epoch = platform.Standby, true, true, 12
		}), record(func(r *platform.Record) { r.Synced = "paris" })), "", "drifted: eu: git still names paris; milan serves since 3 Aug 11:00"},
		{"until that is committed", both(milan), pair(served, after("", drift.Follow, "paris", platform.Done, ""), there("paris", func(r *platform.Region) {
			r.Role, r.Streaming, r.Synchronous, r.Epoch = platform.Standby, true, true, 12
		}), record(func(r *platform.Record) { r.Synced, r.Override, r.Declared = "paris", "", "" })), "", "in sync: eu: 4 of 4 nodes serve"},

		// Standbys.
		{"a standby is lost, and waited for", both(), pair(gone("milan", time.Minute), record(func(r *platform.Record) { r.Apart = noon.Add(-time.Minute) })), "",
			"drifted: eu: paris serves; milan hasn't answered since 11:59:00; writes wait for it"},
		{"or not", both(degrades), pair(gone("milan", time.Minute), record(func(r *platform.Record) { r.Apart = noon.Add(-time.Minute) })), "degrade milan",
			"progressing: eu: no longer waiting for milan (doesn't stream since 11:59:00)"},
		{"but not at once", both(degrades), pair(gone("milan", time.Second), record(func(r *platform.Record) { r.Apart = noon.Add(-time.Second) })), "",
			"drifted: eu: paris serves; milan hasn't answered since 11:59:59; writes wait for it"},
		{"synchronous again by itself", both(degrades), pair(after("", drift.Degrade, "milan", platform.Done, ""), there("milan", func(r *platform.Region) { r.Synchronous = false })), "follow milan",
			"progressing: eu: making a standby of milan (is to have all that is acknowledged)"},
		{"two primaries, by hand", both(), pair(there("milan", primary)), "fence milan", "progressing: eu: fencing milan (it is a primary too, beside paris)"},
		{"none, by hand", both(), pair(there("paris", func(r *platform.Region) { r.Role = platform.Standby })), "", "blocked: eu: no region is the primary for sure: milan standby, paris standby"},
		{"another one, by hand", both(), pair(there("paris", fenced), there("milan", primary)), "", "progressing: eu: milan is the primary, by somebody's hand"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := rollout.Next(c.want, c.have, noon)
			step := ""
			if d.Step != nil {
				step = d.Step.String()
			}
			says := string(d.Verdict) + ": " + d.Says
			if c.says == "" {
				says = ""
			}
			if diff := cmp.Diff([]string{c.step, c.says}, []string{step, says}); diff != "" {
				t.Errorf("(-want +got):\n%s%s", diff, d.Says)
			}
		})
	}
}

const pause = 31 * time.Second

func halted(n *platform.Node) { n.Stopped, n.Ready, n.In, n.View = true, false, false, 0 }

func TestAPlanForetellsASwitchover(t *testing.T) {
	for _, c := range []struct {
		name       string
		want       schema.Deployment
		have       platform.Seen
		plan, says string
	}{
		{"warm", both(milan), pair(), "gate milan, gate paris, fence paris, promote milan, follow paris, open milan, open paris", "eu: would move from paris to milan"},
		{"cold", both(milan, coldly), pair(on(0, halted), on(1, halted)),
			"start milan-0, probe milan-0, admit milan-0, start milan-1, probe milan-1, admit milan-1, gate milan, gate paris, fence paris, promote milan, follow paris, open milan, open paris, stop paris",
			"eu: would move from paris to milan"},
		{"another cluster", both(milan), pair(there("milan", func(r *platform.Region) { r.View = "milan" })),
			"gate milan, gate paris, stop milan, fence paris, promote milan, follow paris, start milan-0, probe milan-0, admit milan-0, open milan, open paris, start milan-1, probe milan-1, admit milan-1",
			"eu: would move from paris to milan"},
		{"refused", both(milan), pair(there("milan", func(r *platform.Region) { r.Streaming, r.Lag = false, 20_000 })), "",
			"eu: would move from paris to milan: milan doesn't stream, it is 20 kB behind"},
		{"a database of somebody else's", both(milan, func(d *schema.Deployment) { d.DB.Host = "db.acme.example" }), pair(there("paris", func(r *platform.Region) { *r = platform.Region{Name: "paris", View: "paris"} }),
			there("milan", func(r *platform.Region) { *r = platform.Region{Name: "milan", View: "paris"} }), record(func(r *platform.Record) { r.Synced = "" })),
			"gate milan, gate paris, open milan, open paris", "eu: would move from paris to milan"},
	} {
		t.Run(c.name, func(t *testing.T) {
			steps, d := rollout.Plan(c.want, c.have, noon)
			var names []string
			for _, s := range steps {
				names = append(names, s.String())
			}
			if diff := cmp.Diff([]string{c.plan, c.says}, []string{strings.Join(names, ", "), d.Says}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
