package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"filippo.io/age"
	"github.com/robfig/cron/v3"

	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/schema"
)

// Keeper takes the backups of all deployments that it is told of when they are due, and proves them. Each deployment has a loop of
// its own, so that a destination that is away holds up no other's, and none holds up a move: while a deployment moves none is begun,
// and one that is under way gives way.
type Keeper struct {
	Open   func(ctx context.Context, destination string) (Destination, error) // by its name
	Dumps  func(*schema.Deployment) (platform.Dumps, error)
	Keys   Keys
	Prove  cron.Schedule                                      // when the newest of each is restored aside
	Recall func(deployment string) []Standing                 // what Told was told last, also by an earlier process; nil where that is lost
	Told   func(deployment string, all []Standing)            // after whatever was done, and when another commit is in force
	Only   func(deployment string) (unlock func(), err error) // keeps other processes from the same
	Log    *slog.Logger

	mu    sync.Mutex
	loops map[string]*loop
	life  sync.WaitGroup
}

// Standing is how one of a deployment's backups stands.
type Standing struct {
	To    string `json:"to"`
	Class string `json:"class"`

	Last   string    `json:"last,omitempty"` // the newest there is
	LastAt time.Time `json:"lastAt,omitzero"`
	Bytes  int64     `json:"bytes,omitempty"`
	Rows   int64     `json:"rows,omitempty"`
	Next   time.Time `json:"next,omitzero"`
	Why    string    `json:"why,omitempty"`  // the last one failed
	Since  time.Time `json:"since,omitzero"` // when it first did so
	Tries  int       `json:"tries,omitempty"`

	Proven   string    `json:"proven,omitempty"` // the newest of which it is known that it can be restored
	ProvenAt time.Time `json:"provenAt,omitzero"`
	TriedAt  time.Time `json:"triedAt,omitzero"`   // when that was last tried
	Unproven string    `json:"unproven,omitempty"` // why the last try came to nothing
}

// Well tells whether nobody has to look.
func (s Standing) Well() bool { return s.Why == "" && s.Unproven == "" && s.Last != "" }

// Says is how it stands, in words.
func (s Standing) Says() string {
	words := s.Class + " to " + s.To + " "
	switch {
	case s.Why != "":
		words += "failed: " + s.Why
	case s.Last == "":
		return words + "not yet taken"
	default:
		words += day(s.LastAt)
	}
	switch {
	case s.Unproven != "" && s.Why == "":
		words += ", not proven: " + s.Unproven
	case !s.ProvenAt.IsZero():
		words += ", restored " + day(s.ProvenAt)
	}
	return words
}

func day(t time.Time) string { return t.UTC().Format("2 Jan 15:04") }

// loop is what is known of one deployment.
type loop struct {
	name string
	end  context.CancelFunc
	wake chan struct{}

	mu     sync.Mutex
	want   schema.Deployment
	commit string
	moves  bool
	told   string                  // the commit that was last told
	giveUp context.CancelCauseFunc // of the backup that is under way
}

// errGivesWay is why a backup ended that was in the way of a move.
var errGivesWay = errors.New("it gives way to a move of the deployment")

// Want says how a deployment is declared now, and whether it moves, in which case nothing is begun. The first call begins its loop,
// which ends with ctx.
func (k *Keeper) Want(ctx context.Context, d schema.Deployment, commit string, moves bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l, ok := k.loops[d.Name]
	if !ok {
		if len(d.Backups) == 0 {
			return
		}
		l = &loop{name: d.Name, wake: make(chan struct{}, 1)}
		if k.loops == nil {
			k.loops = map[string]*loop{}
		}
		k.loops[d.Name] = l
		ctx, l.end = context.WithCancel(ctx)
		k.life.Go(func() { k.run(ctx, l) })
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	changed := !ok || l.moves != moves || l.commit != commit
	l.want, l.commit, l.moves = d, commit, moves
	if moves && l.giveUp != nil {
		l.giveUp(errGivesWay)
	}
	if changed {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// Forget ends the loop of a deployment that is no longer declared. Its backups stay.
func (k *Keeper) Forget(deployment string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l, ok := k.loops[deployment]; ok {
		l.end()
		delete(k.loops, deployment)
	}
}

// Wait returns when all loops have ended.
func (k *Keeper) Wait() { k.life.Wait() }

func (k *Keeper) run(ctx context.Context, l *loop) {
	known := map[string]Standing{}
	for _, s := range k.Recall(l.name) {
		known[s.To+"/"+s.Class] = s
	}
	for ctx.Err() == nil {
		next := k.round(ctx, l, known, time.Now())
		select {
		case <-ctx.Done():
		case <-l.wake:
		case <-time.After(time.Until(next)):
		}
	}
}

// Once takes and proves whatever is due of a deployment, and returns how all of it stands.
func (k *Keeper) Once(ctx context.Context, d schema.Deployment, commit string) []Standing {
	known := map[string]Standing{}
	for _, s := range k.Recall(d.Name) {
		known[s.To+"/"+s.Class] = s
	}
	k.round(ctx, &loop{name: d.Name, want: d, commit: commit}, known, time.Now())
	return sorted(known)
}

// farAway is when nothing is due.
const farAway = 24 * time.Hour

// round does what is due, and says when to look again.
func (k *Keeper) round(ctx context.Context, l *loop, known map[string]Standing, now time.Time) (next time.Time) {
	l.mu.Lock()
	want, commit, moves := l.want, l.commit, l.moves
	l.mu.Unlock()
	next = now.Add(farAway)
	did := false
	declared := map[string]bool{}
	for _, b := range want.Backups {
		key := b.To + "/" + b.Class
		declared[key] = true
		e := entry{Keeper: k, loop: l, want: want, commit: commit, declared: b, standing: known[key]}
		e.standing.To, e.standing.Class = b.To, b.Class
		var at time.Time
		var some bool
		if at, some = e.look(ctx, moves); ctx.Err() != nil {
			return now
		}
		did = did || some || known[key] != e.standing
		known[key] = e.standing
		if at.Before(next) {
			next = at
		}
	}
	maps.DeleteFunc(known, func(key string, _ Standing) bool { return !declared[key] })
	if did || l.told != commit {
		l.told = commit
		k.Told(l.name, sorted(known))
	}
	return next
}

func sorted(known map[string]Standing) []Standing {
	return slices.SortedFunc(maps.Values(known), func(a, b Standing) int {
		return cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(a.To, b.To))
	})
}

// entry is one of the backups of a deployment, being looked at.
type entry struct {
	*Keeper
	*loop
	want     schema.Deployment
	commit   string
	declared schema.Backup
	standing Standing
}

// look does what is due, and says when something is due next.
func (e *entry) look(ctx context.Context, moves bool) (next time.Time, did bool) {
	s := &e.standing
	schedule, err := cron.ParseStandard(e.declared.Schedule)
	if err != nil {
		return time.Now().Add(farAway), false // it was checked
	}
	d, err := e.open(ctx)
	if err == nil && s.Last == "" {
		err = e.newest(ctx, d)
	}
	if err != nil {
		e.failed(err)
		s.Next = time.Now().Add(again(s.Tries))
		return s.Next, true
	}
	if s.Tries == 0 {
		s.Next = e.due(schedule)
	}
	if !moves && !time.Now().Before(s.Next) {
		did = true
		switch err := e.take(ctx, d); {
		case errors.Is(err, errGivesWay) || ctx.Err() != nil:
			return time.Now().Add(farAway), did // its end wakes us
		case err != nil:
			e.failed(err)
			s.Next = time.Now().Add(again(s.Tries))
		default:
			s.Next = e.due(schedule)
		}
	}
	proof := e.proofDue()
	if s.Last != "" && !time.Now().Before(proof) {
		did = true
		e.prove(ctx, d)
		proof = e.proofDue()
	}
	if moves || s.Last != "" && proof.Before(s.Next) {
		return proof, did
	}
	return s.Next, did
}

// due is when the next backup is to be taken: what was missed is caught up with once.
func (e *entry) due(schedule cron.Schedule) time.Time {
	if e.standing.Last == "" {
		return time.Time{}
	}
	return schedule.Next(e.standing.LastAt)
}

// again is how long a try that failed is waited for.
func again(tries int) time.Duration { return min(time.Minute<<min(tries-1, 4), 15*time.Minute) }

func (e *entry) failed(err error) {
	s := &e.standing
	if s.Why == "" {
		s.Since = time.Now().UTC().Truncate(time.Second)
	}
	s.Why, s.Tries = err.Error(), s.Tries+1
	e.Log.Warn("backup", "deployment", e.want.Name, "to", s.To, "class", s.Class, "tries", s.Tries, "error", err)
}

func (e *entry) open(ctx context.Context) (Destination, error) {
	d, err := e.Open(ctx, e.declared.To)
	if err != nil {
		return nil, fmt.Errorf("destination %s: %w", e.declared.To, err)
	}
	return d, nil
}

// newest finds out what there is.
func (e *entry) newest(ctx context.Context, d Destination) error {
	short, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	at := folder(e.want.Name, e.declared.Class)
	l, err := list(short, d, at)
	if err != nil {
		return fmt.Errorf("look at destination %s: %w", e.declared.To, err)
	}
	if len(l.whole) == 0 {
		return nil
	}
	p, err := read(short, d, at, l.whole[len(l.whole)-1])
	if err == nil {
		e.standing.has(p)
	}
	return err
}

func (s *Standing) has(p Point) {
	s.Last, s.LastAt, s.Bytes, s.Rows = p.ID, p.At, p.Bytes, p.Counts.Rows()
}

// most is how long one backup, or one proof, may take.
const most = 6 * time.Hour

// take takes one backup, and lets those go that are too old.
func (e *entry) take(ctx context.Context, d Destination) error {
	unlock, err := e.Only(e.want.Name)
	if err != nil {
		return err
	}
	defer unlock()
	ctx, end := context.WithTimeout(ctx, most)
	defer end()
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	e.loop.mu.Lock()
	e.giveUp = giveUp
	moves := e.moves
	e.loop.mu.Unlock()
	defer func() {
		e.loop.mu.Lock()
		defer e.loop.mu.Unlock()
		e.giveUp = nil
	}()
	if moves {
		return errGivesWay
	}
	dumps, err := e.Dumps(&e.want)
	if err != nil {
		return err
	}
	t := Taking{Dumps: dumps, Want: e.want, Commit: e.commit, To: e.declared.To, At: d, Class: e.declared.Class, Keep: time.Duration(e.declared.Keep)}
	if t.Recipients, t.Names, err = Sealing(e.declared); err != nil {
		return err
	}
	began := time.Now()
	p, err := t.Take(ctx, began)
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errGivesWay) {
		e.Log.Info("backup", "deployment", e.want.Name, "to", t.To, "class", t.Class, "says", cause.Error())
		return cause
	}
	if err != nil {
		return err
	}
	s := &e.standing
	s.has(p)
	s.Why, s.Since, s.Tries = "", time.Time{}, 0
	e.Log.Info("backup", "deployment", e.want.Name, "to", t.To, "class", t.Class, "backup", p.ID, "bytes", p.Bytes, "seconds", time.Since(began).Seconds())
	removed, err := Expire(ctx, d, e.want.Name, t.Class, t.Keep, s.Proven, time.Now())
	if len(removed) > 0 {
		e.Log.Info("backups are too old and removed", "deployment", e.want.Name, "to", t.To, "class", t.Class, "backups", removed)
	}
	return err
}

// Sealing is whom a backup is encrypted to; nobody where it says none.
func Sealing(b schema.Backup) (r []age.Recipient, names []string, err error) {
	if b.Encrypt == schema.NotEncrypted {
		return nil, nil, nil
	}
	return schema.Recipients(b.Encrypt)
}

// proofDue is when the newest backup is to be restored aside.
func (e *entry) proofDue() time.Time {
	s := e.standing
	if s.TriedAt.IsZero() {
		return time.Time{}
	}
	return e.Prove.Next(s.TriedAt)
}

// prove restores the newest backup aside, and counts what is in it.
func (e *entry) prove(ctx context.Context, d Destination) {
	ctx, end := context.WithTimeout(ctx, most)
	defer end()
	s := &e.standing
	began := time.Now()
	p, err := read(ctx, d, folder(e.want.Name, e.declared.Class), s.Last)
	if notThere(err) {
		err = fmt.Errorf("backup %s is gone: %w", s.Last, err)
		s.Last = "" // the next look finds out what there is
	}
	if err == nil {
		err = e.restoredAside(ctx, d, p)
	}
	if ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	s.TriedAt = time.Now().UTC().Truncate(time.Second)
	if err != nil {
		s.Unproven = err.Error()
		e.Log.Warn("backup isn't proven", "deployment", e.want.Name, "to", s.To, "class", s.Class, "backup", s.Last, "error", err)
		return
	}
	s.Proven, s.ProvenAt, s.Unproven = p.ID, s.TriedAt, ""
	e.Log.Info("backup is proven", "deployment", e.want.Name, "to", s.To, "class", s.Class, "backup", p.ID, "rows", p.Counts.Rows(), "seconds", time.Since(began).Seconds())
}

func (e *entry) restoredAside(ctx context.Context, d Destination, p Point) error {
	dumps, err := e.Dumps(&e.want)
	if err != nil {
		return err
	}
	return Proof(ctx, d, p, e.Keys, dumps, e.want)
}
