package backup

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/robfig/cron/v3"

	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/schema"
)

// keeping is a keeper whose destination is a folder, and whose memory is here.
type keeping struct {
	*Keeper
	t    *testing.T
	dir  string
	keys []age.Identity
	last chan []Standing
	kept []Standing
}

func newKeeping(t *testing.T, db platform.Dumps, keys ...age.Identity) *keeping {
	prove, err := cron.ParseStandard("0 5 * * *")
	must(t, err)
	k := &keeping{t: t, dir: filepath.Join(t.TempDir(), "vault"), keys: keys, last: make(chan []Standing, 100)}
	k.Keeper = &Keeper{Prove: prove, Log: slog.New(slog.DiscardHandler),
		Open:   func(context.Context, string) (Destination, error) { return Folder(k.dir), nil },
		Dumps:  func(*schema.Deployment) (platform.Dumps, error) { return db, nil },
		Keys:   func() (Identities, error) { return k.keys, nil },
		Recall: func(string) []Standing { return k.kept },
		Told: func(_ string, all []Standing) {
			k.kept = all
			k.last <- all
		},
		Only: func(string) (func(), error) { return func() {}, nil },
	}
	return k
}

// once does what is due, and says how the one backup stands.
func (k *keeping) once(d schema.Deployment) Standing {
	k.t.Helper()
	all := k.Once(k.t.Context(), d, "c0ffee")
	if len(all) != 1 {
		k.t.Fatalf("it stands as %+v", all)
	}
	return all[0]
}

func declared(key *age.X25519Identity) schema.Deployment {
	d := eu
	d.Backups = []schema.Backup{{To: "vault", Class: "cold", Schedule: "0 3 * * *", Keep: schema.Duration(time.Hour), Encrypt: key.Recipient().String()}}
	return d
}

func kept(t *testing.T, db *databases) {
	key := identity(t)
	k, want := newKeeping(t, db, key), declared(key)
	s := k.once(want)
	if s.Well() || !strings.Contains(s.Says(), "cold to vault failed: look at destination vault: the folder of the destination: ") || s.Tries != 1 || s.Since.IsZero() || time.Until(s.Next) > time.Minute {
		t.Errorf("the destination is away, and it stands as %+v", s)
	}
	must(t, os.Mkdir(k.dir, 0o700))
	k.kept[0].Next = time.Time{} // the minute has passed
	began := time.Now().Add(-time.Second)
	s = k.once(want)
	if !s.Well() || s.Proven != s.Last || s.LastAt.Before(began.Truncate(time.Second)) || s.Rows != 2000 || !s.Next.After(began) || s.Next.Sub(began) > 24*time.Hour {
		t.Errorf("it is back, and it stands as %+v", s)
	}
	if again := k.once(want); again != s {
		t.Errorf("nothing is due, and it stands as %+v, before as %+v", again, s)
	}

	// What was missed is caught up with once, also by a process that remembers nothing.
	first := s.Last
	must(t, os.Rename(filepath.Join(k.dir, "eu/cold", first+sealedSuffix), filepath.Join(k.dir, "eu/cold", id(1)+sealedSuffix)))
	text, err := os.ReadFile(filepath.Join(k.dir, "eu/cold", first+manifestSuffix))
	must(t, err)
	old := strings.ReplaceAll(strings.ReplaceAll(string(text), first, id(1)), s.LastAt.Format(time.RFC3339), at(1).Format(time.RFC3339))
	must(t, os.Remove(filepath.Join(k.dir, "eu/cold", first+manifestSuffix)))
	must(t, os.WriteFile(filepath.Join(k.dir, "eu/cold", id(1)+manifestSuffix), []byte(old), 0o600))
	k.kept, k.keys = nil, nil
	s = k.once(want)
	if s.Last == "" || s.Last == id(1) || s.Why != "" || !strings.Contains(s.Unproven, "no key opens it: none is given") || s.Well() {
		t.Errorf("days were missed and the key is lost, and it stands as %+v", s)
	}
	l, err := list(t.Context(), Folder(k.dir), "eu/cold/")
	if err != nil || len(l.whole) != 1 || l.whole[0] != s.Last {
		t.Errorf("there are %v, %v", l.whole, err)
	}

	// A move of the deployment ends a backup that is under way, and no other is begun until the move has ended.
	ctx, end := context.WithCancel(t.Context())
	r, w := io.Pipe()
	db.tail = r
	defer func() { db.tail = nil }()
	k = newKeeping(t, db, key)
	must(t, os.Mkdir(k.dir, 0o700))
	k.Want(ctx, want, "c0ffee", false)
	_, err = w.Write([]byte("the dump is under way"))
	must(t, err)
	go func() { // as a database does whose asker has gone
		for !errors.Is(ctx.Err(), context.Canceled) {
			k.mu.Lock()
			l := k.loops["eu"]
			k.mu.Unlock()
			l.mu.Lock()
			moves := l.moves
			l.mu.Unlock()
			if moves {
				w.CloseWithError(errors.New("cancelled"))
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	k.Want(ctx, want, "c0ffee", true)
	if s := (<-k.last)[0]; s.Last != "" || s.Why != "" || s.Tries != 0 {
		t.Errorf("it gives way, and stands as %+v", s)
	}
	if got := names(t, Folder(k.dir)); len(got) > 0 {
		t.Errorf("it gave way, and there is %v", got)
	}
	db.tail = nil
	k.Want(ctx, want, "c0ffee", false)
	if s := (<-k.last)[0]; s.Last == "" || s.Proven != s.Last {
		t.Errorf("the move has ended, and it stands as %+v", s)
	}
	end()
	k.Wait()
}
