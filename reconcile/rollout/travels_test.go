package rollout_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/platformtest"
	"github.com/cloakwork/cloakwork/reconcile/rollout"
	"github.com/cloakwork/cloakwork/schema"
)

// travels are the life of a deployment in two regions, which get lost, come back, and are wished for.
type travels struct {
	*rand.Rand
	*platformtest.Memory
	process *platformtest.Process
	want    schema.Deployment
	now     time.Time
	faults  bool
	last    platform.Seen   // an earlier look
	hand    map[string]bool // regions that a person made the primary
	dirty   bool            // a person did that once
	lost    map[string]bool
	torn    map[string]bool // regions that were fenced while they were lost
	promote map[string]int  // how often each region was promoted since the faults ended
	wrong   error
	told    []string
}

func (l *travels) maybe(percent int) bool { return l.IntN(100) < percent }

func setOut(seed uint64) *travels {
	l := &travels{Rand: rand.New(rand.NewPCG(seed, 11)), now: noon, faults: true, hand: map[string]bool{}, lost: map[string]bool{}, torn: map[string]bool{}, promote: map[string]int{}}
	l.want = both()
	l.want.Instances = 1 + l.IntN(2)
	if l.maybe(30) {
		asynchronous(&l.want)
	}
	if l.maybe(50) {
		degrades(&l.want)
	}
	if l.maybe(30) {
		coldly(&l.want)
	}
	if l.maybe(20) {
		manual(&l.want)
	}
	if l.maybe(20) {
		windowed(&l.want)
	}
	l.Memory = &platformtest.Memory{Pace: 1 + l.IntN(3), Restart: 1 + l.IntN(4)}
	l.Fails = func(drift.Step) string {
		if l.faults && l.maybe(10) {
			return "the disk is full"
		}
		return ""
	}
	l.Beyond = func(string) string {
		if l.faults && l.maybe(60) {
			return "the host doesn't answer"
		}
		return ""
	}
	l.Stale = func() int {
		if l.faults && l.maybe(30) {
			return l.IntN(6)
		}
		return 0
	}
	l.Ended = func(s *platform.Seen) { // what was written last doesn't arrive
		if l.faults && s.Move.Step.Verb == drift.Fence && l.want.DB.Replication == "asynchronous" && l.maybe(20) {
			for i := range s.Regions {
				if r := &s.Regions[i]; r.Role == platform.Standby && r.LSN > 10 {
					r.LSN -= 10
				}
			}
		}
	}
	l.Watch = l.watch
	if l.maybe(60) {
		l.Put(pair(func(s *platform.Seen) {
			if l.maybe(20) {
				there("milan", func(r *platform.Region) { r.View = "milan" })(s)
			}
			if l.maybe(10) {
				there("paris", gated)(s)
			}
		}))
		l.Acked = 1000
	}
	l.open()
	return l
}

func (l *travels) open() {
	l.process = l.Process()
	l.process.Flaw = func(string) platformtest.Answer {
		switch {
		case !l.faults || l.maybe(80):
			return platformtest.Given
		case l.maybe(50):
			return platformtest.Throttled
		}
		return platformtest.LostAnswer
	}
}

func (l *travels) crash() {
	if l.faults && l.maybe(7) {
		l.process.Crash()
		l.open()
	}
}

// watch is told of all that changes, and holds it against what must always be so.
func (l *travels) watch(before, after platform.Seen) {
	if l.wrong != nil {
		return
	}
	if wrong := l.mustNot(before, after); wrong != "" {
		l.wrong = fmt.Errorf("%s\nbefore %+v\nafter  %+v\nacknowledged %d", wrong, before, after, l.Acked)
	}
}

func (l *travels) mustNot(before, after platform.Seen) string {
	had, has := l.primaries(before), l.primaries(after)
	step := after.Move.Step
	begins := step != before.Move.Step
	synced, _ := after.Region(after.Record.Synced)
	to, _ := after.Region(step.Region)
	for _, r := range after.Regions { // what was fenced isn't a person's any more
		if r.Role != platform.Primary {
			delete(l.hand, r.Name)
		}
	}
	if step.Verb == drift.Fence && after.Move.State == platform.Done && before.Move.State == platform.Doing {
		l.torn[step.Region] = l.lost[step.Region]
	}
	lacks := false
	for _, r := range before.Regions {
		lacks = lacks || to.Role == platform.Standby && r.Role == platform.Fenced && !l.torn[r.Name] && !l.lost[r.Name] && r.Epoch > to.Epoch && r.LSN > to.LSN
	}
	decided := after.Record.Step
	for _, r := range before.Regions { // what it alone has is given up for good: the other one may be a primary from now on
		if decided != before.Record.Step && decided.Verb == drift.Promote && r.Name != decided.Region && r.Role == platform.Fenced && l.lost[r.Name] {
			l.torn[r.Name] = true
		}
	}
	switch {
	case begins && step.Verb == drift.Promote && lacks && !l.dirty:
		return "promotes a region that lacks what the fenced one has written"
	case len(has) > 1 && len(has) > len(had):
		return "two regions take writes"
	case begins && step.Verb == drift.Promote && len(had) > 0 && had[0] != step.Region:
		return "promotes while " + had[0] + " takes writes"
	case begins && step.Verb == drift.Open && len(had) != 1 && !l.dirty:
		return fmt.Sprintf("opens while %d regions take writes", len(had))
	case begins && moves(step.Verb) && step.Epoch != after.Record.Epoch:
		return "a step without an epoch of its own"
	case after.Record != before.Record && after.Record.Epoch <= before.Record.Epoch:
		return "the epoch doesn't rise"
	case l.dirty || l.want.DB.Replication != "synchronous":
	case after.Record.Synced != "" && synced.LSN < l.Acked && synced.Role == platform.Standby:
		return "what was acknowledged isn't where the record says"
	case step.Verb == drift.Promote && after.Move.State == platform.Done && before.Move.State == platform.Doing && to.LSN < l.Acked:
		return "what was acknowledged is lost"
	}
	if step.Verb == drift.Promote && after.Move.State == platform.Done && before.Move.State == platform.Doing && !l.faults {
		l.promote[step.Region]++
	}
	return ""
}

func moves(v drift.Verb) bool {
	return v == drift.Fence || v == drift.Promote || v == drift.Follow || v == drift.Degrade
}

// primaries are the regions that take writes, but for those that a person made do so.
func (l *travels) primaries(s platform.Seen) (names []string) {
	for _, r := range s.Regions {
		if r.Role == platform.Primary && !l.hand[r.Name] {
			names = append(names, r.Name)
		}
	}
	return names
}

// look is one look of the controller, which may die anywhere in it.
func (l *travels) look() (d rollout.Decision, quiet bool) {
	l.now = l.now.Add(time.Duration(1+l.IntN(8)) * time.Second)
	if l.faults {
		l.fate()
	}
	seen, err := l.process.Observe(context.Background(), l.want)
	if err != nil {
		return d, false
	}
	now := seen
	if l.faults && l.maybe(15) { // of different times, but no older than the move
		seen = l.last
		seen.Record = now.Record
	}
	l.last = now
	d = rollout.Next(l.want, seen, l.now)
	l.told = append(l.told, l.now.Format("15:04:05 ")+string(d.Verdict)+": "+d.Says)
	if n := len([]rune(d.Says)); n == 0 || n > drift.Longest {
		l.wrong = fmt.Errorf("says %q", d.Says)
	}
	l.crash()
	if d.Record != seen.Record {
		if err := l.process.Save(context.Background(), l.want, seen.Record, d.Record); err != nil {
			return d, false
		}
	}
	l.crash()
	if d.Step != nil {
		err := l.process.Do(context.Background(), l.want, *d.Step)
		if err != nil && !l.faults && !errors.Is(err, platform.ErrOldEpoch) {
			l.wrong = fmt.Errorf("%+v: %w", d.Step, err)
		}
		l.crash()
	}
	quiet = d.Step == nil && d.Record == seen.Record && d.Verdict != drift.Progressing
	if quiet && !l.faults && !d.Until.IsZero() {
		l.now = d.Until
		quiet = false
	}
	return d, quiet
}

// fate is what happens from outside.
func (l *travels) fate() {
	seen := l.Now()
	region := []string{"paris", "milan"}[l.IntN(2)]
	r, known := seen.Region(region)
	switch {
	case !known:
	case l.lost[region] && l.maybe(12):
		delete(l.lost, region)
		l.Mend(region)
	case !l.lost[region] && l.maybe(3):
		l.lost[region] = true
		l.Lose(region, l.maybe(60), l.now)
	case l.maybe(3):
		l.want.Active = region
	case l.maybe(2):
		if record, err := rollout.Move(l.want, seen, region); err == nil {
			l.process.Save(context.Background(), l.want, seen.Record, record)
		}
	case l.maybe(1) && l.maybe(20) && r.Role != "" && !l.lost[region]:
		l.hand[region], l.dirty = true, true
		l.Edit(func(s *platform.Seen) {
			there(region, func(r *platform.Region) { r.Role, r.Synchronous, r.Streaming = platform.Primary, false, false })(s)
		})
	case l.maybe(2):
		l.want.Revision, l.want.Version = v2.Revision, v2.Version
		if l.maybe(50) {
			l.want.Revision, l.want.Version = v3.Revision, v3.Version
		}
	}
	if record, ok := rollout.Resume(seen.Record); ok && l.maybe(10) {
		l.process.Save(context.Background(), l.want, seen.Record, record)
	}
	if len(seen.Nodes) > 0 && l.maybe(3) {
		l.Kill(seen.Nodes[l.IntN(len(seen.Nodes))].Name)
	}
}

// asWished tells whether all is as it shall be, independently of what Next thinks.
func (l *travels) asWished() error {
	s := l.Now()
	goal := l.want.Active
	if s.Record.Override != "" {
		goal = s.Record.Override
	}
	if s.Record.Active != goal || s.Record.Toward != "" {
		return fmt.Errorf("%s is active, %s shall be; toward %q", s.Record.Active, goal, s.Record.Toward)
	}
	for _, r := range s.Regions {
		synchronous := r.Name != goal && l.want.DB.Replication == "synchronous"
		switch {
		case r.Gated:
			return errors.New(r.Name + " is gated")
		case r.Name == goal && r.Role != platform.Primary, r.Name != goal && (r.Role != platform.Standby || !r.Streaming):
			return fmt.Errorf("%+v", r)
		case r.Synchronous != synchronous, synchronous && s.Record.Synced != r.Name:
			return fmt.Errorf("%+v; synced is %q", r, s.Record.Synced)
		}
	}
	if serving(s, goal) == 0 {
		return errors.New("nobody serves")
	}
	return nil
}

func (l *travels) ends() (rollout.Decision, error) {
	quiet := 0
	for range 3000 {
		d, still := l.look()
		if l.wrong != nil {
			return d, l.wrong
		}
		if r, ok := rollout.Resume(l.Now().Record); ok && still {
			l.process.Save(context.Background(), l.want, l.Now().Record, r)
		}
		if quiet++; !still {
			quiet = 0
		}
		if quiet > 30 {
			return d, nil
		}
	}
	return rollout.Decision{}, errors.New("never ends")
}

// Whatever is lost, wished or done by hand, and wherever the controller dies: two regions never take writes, nothing that was
// acknowledged to be in two is lost, and in the end the region serves that shall, or the report says what it waits for.
func TestRegionsMoveWithoutTwoWritersAndWithoutLoss(t *testing.T) {
	ended, moved := map[drift.Verdict]int{}, 0
	for seed := *first; seed < *first+*lives; seed++ {
		l := setOut(seed)
		fail := func(err error) {
			t.Fatalf("seed %d: %v\nwant %+v\nlast said:\n%s", seed, err, l.want, lines(l.told))
		}
		for range l.IntN(300) {
			if l.look(); l.wrong != nil {
				fail(l.wrong)
			}
		}
		moved += int(l.Now().Record.Moved)
		l.faults = false
		for region := range l.lost {
			l.Mend(region)
		}
		d, err := l.ends()
		if err != nil {
			fail(err)
		}
		ended[d.Verdict]++
		switch err := l.asWished(); {
		case d.Verdict == drift.Blocked && l.dirty:
		case err != nil:
			fail(fmt.Errorf("says %s %q, but %w", d.Verdict, d.Says, err))
		}
		if n := l.promote["paris"] + l.promote["milan"]; n > 4 {
			fail(fmt.Errorf("promotes %v: to and fro", l.promote))
		}
	}
	t.Logf("%d lives ended: %v, at epoch %d of moves on average", *lives, ended, moved/int(*lives))
}
