package backup

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/reconcile/platform"
)

// All of it needs a database and an S3, which are started once.
func TestBackups(t *testing.T) {
	db, c := primary(t), newCloud(t)
	t.Run("one is taken, proven, and comes back", func(t *testing.T) { taken(t, db, c) })
	t.Run("one that is corrupted is named", func(t *testing.T) { corrupted(t, db) })
	t.Run("a destination that is full or away gets nothing", func(t *testing.T) { fullOrAway(t, db) })
	t.Run("the keeper says what goes wrong, and goes on when it can", func(t *testing.T) { kept(t, db) })
	t.Run("what is too old goes, but never the newest nor the proven one", func(t *testing.T) { expired(t, c) })
	t.Run("a destination keeps all or nothing", func(t *testing.T) { destinations(t, c) })
}

// destinations are all held to the same, by what they show afterwards.
func destinations(t *testing.T, c *cloud) {
	small := c.bucket("small-parts", false)
	small.part = 5 << 20
	for name, d := range map[string]Destination{"folder": Folder(t.TempDir()), "bucket": c.bucket("plain", false), "bucket with lock": c.bucket("locked", true), "bucket, by parts": small} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			for _, n := range []int64{0, 1000, 11 << 20} {
				if err := d.Put(ctx, "eu/cold/half", cut(n, errPower), time.Time{}); !errors.Is(err, errPower) {
					t.Errorf("cut after %d bytes: %v", n, err)
				}
			}
			if got := names(t, d); len(got) > 0 {
				t.Errorf("cut short, there is %v", got)
			}
			if _, err := d.Get(ctx, "eu/cold/half"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("cut short, it is read: %v", err)
			}
			big := bytes.Repeat([]byte("0123456789abcdef"), 12<<16)
			for file, content := range map[string][]byte{"eu/cold/small": []byte("one"), "eu/cold/big": big} {
				must(t, d.Put(ctx, file, bytes.NewReader(content), time.Time{}))
				if err := d.Put(ctx, file, strings.NewReader("another"), time.Time{}); !errors.Is(err, fs.ErrExist) {
					t.Errorf("put over another: %v", err)
				}
				r, err := d.Get(ctx, file)
				must(t, err)
				got, err := io.ReadAll(r)
				r.Close()
				if err != nil || !bytes.Equal(got, content) {
					t.Errorf("%s comes back as %d bytes, %v", file, len(got), err)
				}
			}
			must(t, d.Put(ctx, "us/cold/other", strings.NewReader("x"), time.Time{}))
			if diff := cmp.Diff([]string{"eu/cold/big", "eu/cold/small"}, names(t, d)); diff != "" {
				t.Error(diff)
			}
			must(t, d.Delete(ctx, "eu/cold/big"))
			must(t, d.Delete(ctx, "eu/cold/big"))
			if got := names(t, d); !slices.Equal(got, []string{"eu/cold/small"}) {
				t.Errorf("after one is deleted there is %v", got)
			}
			must(t, d.Clean(ctx, "eu/"))
			if got := names(t, d); len(got) != 1 {
				t.Errorf("cleaned, there is %v", got)
			}
		})
	}
	locked := c.bucket("promised", true)
	locked.part = 5 << 20
	for file, size := range map[string]int64{"eu/cold/small": 10, "eu/cold/big": 6 << 20} {
		must(t, locked.Put(t.Context(), file, io.LimitReader(zeros{}, size), time.Now().Add(time.Hour)))
		if err := locked.Delete(t.Context(), file); !errors.Is(err, ErrLocked) {
			t.Errorf("what was promised to stay: %v", err)
		}
	}
	versions, err := locked.client.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &locked.bucket})
	if err != nil || len(versions.Versions) != 2 || len(versions.DeleteMarkers) != 0 {
		t.Errorf("there are %d versions and %d marks, %v", len(versions.Versions), len(versions.DeleteMarkers), err)
	}
	c.stop()
	began := time.Now()
	if _, err := locked.List(t.Context(), "eu/"); err == nil || !strings.Contains(err.Error(), "bucket promised") || strings.Contains(err.Error(), "hidden") {
		t.Errorf("down, it says %v", err)
	}
	t.Logf("a destination that is down is known after %s", time.Since(began))
}

func taken(t *testing.T, db *databases, c *cloud) {
	key := identity(t)
	db.cutShort = 1
	ctx := t.Context()
	for name, d := range map[string]Destination{"folder": Folder(t.TempDir()), "bucket": c.bucket("vault", true)} {
		t.Run(name, func(t *testing.T) {
			// A process that was killed has left half ones of both kinds.
			must(t, d.Put(ctx, "eu/cold/20261031T000000Z.dump.age", strings.NewReader("half"), time.Time{}))
			p, err := taking(db, d, key).Take(ctx, at(1))
			must(t, err)
			if diff := cmp.Diff([]string{"eu/cold/20261101T010000Z.dump.age", "eu/cold/20261101T010000Z.json"}, names(t, d)); diff != "" {
				t.Error(diff)
			}
			points, err := Points(ctx, d, "vault", "eu")
			must(t, err)
			if diff := cmp.Diff([]Point{p}, points); diff != "" {
				t.Errorf("listed it is another:\n%s", diff)
			}
			if p.Counts["public.users"] != 2000 || p.Commit != "c0ffee" || p.Region != "paris" || len(p.Recipients) != 1 || p.Keycloak != "26.7.3" {
				t.Errorf("its manifest says %+v", p)
			}
			r, err := d.Get(ctx, p.dir()+p.File)
			must(t, err)
			stored, err := io.ReadAll(r)
			r.Close()
			must(t, err)
			if !bytes.HasPrefix(stored, []byte("age-encryption.org/")) || bytes.Contains(stored, []byte("PGDMP")) || int64(len(stored)) != p.Bytes {
				t.Errorf("%d bytes are stored, and begin with %.30q", len(stored), stored)
			}
			if name == "folder" {
				must(t, Proof(ctx, d, p, with(key), db, eu))
			}
			defer func() { must(t, db.Discard(ctx, eu, "restored_"+name)) }()
			must(t, Restored(ctx, d, p, with(key), func(r io.Reader) (platform.Counts, error) { return db.Fill(ctx, eu, "restored_"+name, r) }))
			if got := db.do(t, "restored_"+name, "SELECT count(*), md5(string_agg(name, '' ORDER BY id)) FROM users"); got != db.do(t, "keycloak", "SELECT count(*), md5(string_agg(name, '' ORDER BY id)) FROM users") {
				t.Errorf("restored there is %s", got)
			}
			// A key that is lost is no broken backup.
			for _, keys := range []Keys{with(identity(t)), with()} {
				if err := Proof(ctx, d, p, keys, db, eu); !errors.Is(err, ErrSealed) || !strings.Contains(err.Error(), key.Recipient().String()) {
					t.Errorf("with another key it says %v", err)
				}
			}
			wrong := p
			wrong.Counts = platform.Counts{"public.users": 2001}
			if err := db.filled(ctx, d, wrong, with(key)); err == nil || !strings.Contains(err.Error(), "public.users has 2000 rows of 2001") {
				t.Errorf("rows are missing, and it says %v", err)
			}
		})
	}
	if !slices.Equal(db.asked, []bool{true, false, true}) {
		t.Errorf("standbys were asked %v: what one cut short the primary gives", db.asked)
	}
	if left, _ := filepath.Glob(db.dir + "/scratch*"); !slices.Equal(left, []string{db.dir + "/scratch.lock"}) {
		t.Errorf("proofs leave %v", left)
	}
}

func corrupted(t *testing.T, db *databases) {
	key, dir := identity(t), t.TempDir()
	d := Folder(dir)
	p, err := taking(db, d, key).Take(t.Context(), at(1))
	must(t, err)
	file := filepath.Join(dir, p.dir(), p.File)
	good, err := os.ReadFile(file)
	must(t, err)
	for what, bad := range map[string][]byte{
		"a bit":    append(append(slices.Clone(good[:len(good)/2]), good[len(good)/2]^1), good[len(good)/2+1:]...),
		"its end":  good[:len(good)-100],
		"more":     append(slices.Clone(good), 'x'),
		"its head": append([]byte("age-encryption.org/v2"), good[21:]...),
	} {
		must(t, os.WriteFile(file, bad, 0o600))
		if err := db.filled(t.Context(), d, p, with(key)); err == nil || !strings.Contains(err.Error(), p.dir()+p.File+" isn't what was put there") || !strings.Contains(err.Error(), p.SHA256[:12]) {
			t.Errorf("%s is another, and it says %v", what, err)
		}
	}
	must(t, os.WriteFile(file, good, 0o600))
	must(t, db.filled(t.Context(), d, p, with(key)))
	must(t, os.WriteFile(filepath.Join(dir, p.dir(), p.ID+".json"), []byte("{"), 0o600))
	if points, err := Points(t.Context(), d, "vault", "eu"); len(points) > 0 || err == nil || !strings.Contains(err.Error(), p.ID+".json") {
		t.Errorf("a manifest that can't be read: %v, %v", points, err)
	}
}

func expired(t *testing.T, c *cloud) {
	locked := c.bucket("aged", true)
	now := at(100)
	for name, d := range map[string]Destination{"folder": Folder(t.TempDir()), "bucket": c.bucket("aging", false), "bucket with lock": locked} {
		t.Run(name, func(t *testing.T) {
			put := func(hour int, until time.Time) {
				for _, suffix := range []string{sealedSuffix, manifestSuffix} {
					must(t, d.Put(t.Context(), "eu/cold/"+id(hour)+suffix, strings.NewReader("x"), until))
				}
			}
			for _, hour := range []int{1, 2, 3, 90} {
				put(hour, time.Time{})
			}
			put(4, time.Now().Add(time.Hour))
			must(t, d.Put(t.Context(), "eu/cold/notes.txt", strings.NewReader("x"), time.Time{}))
			removed, err := Expire(t.Context(), d, "eu", "cold", 24*time.Hour, id(2), now)
			must(t, err)
			want := []string{id(1), id(3), id(4)}
			if d == Destination(locked) {
				want = want[:2]
			}
			if diff := cmp.Diff(want, removed); diff != "" {
				t.Errorf("removed (-want +have):\n%s", diff)
			}
			l, err := list(t.Context(), d, "eu/cold/")
			must(t, err)
			left := []string{id(2), id(90)}
			if d == Destination(locked) {
				left = []string{id(2), id(4), id(90)}
			}
			if diff := cmp.Diff(left, l.whole); diff != "" || len(l.half) > 0 {
				t.Errorf("left (-want +have):\n%s%v", diff, l.half)
			}
			removed, err = Expire(t.Context(), d, "eu", "cold", time.Nanosecond, "", now.Add(10000*time.Hour))
			if err != nil || slices.Contains(removed, id(90)) {
				t.Errorf("long after all there is removed %v, %v", removed, err)
			}
			if all := names(t, d); !slices.Contains(all, "eu/cold/notes.txt") || !slices.Contains(all, "eu/cold/"+id(90)+manifestSuffix) {
				t.Errorf("there is %v", all)
			}
		})
	}
}

func fullOrAway(t *testing.T, db *databases) {
	key := identity(t)
	defer func() { db.tail = nil }()
	db.do(t, "keycloak", "CREATE TABLE noise AS SELECT n, md5(n::text) || md5((n*7)::text) AS x FROM generate_series(1, 60000) n")
	full := smallDisk(t)
	_, err := taking(db, Folder(full), key).Take(t.Context(), at(1))
	if err == nil || !strings.Contains(err.Error(), "put it at vault: the disk of "+full+" is full") {
		t.Errorf("full, it says %v", err)
	}
	left := 0
	must(t, filepath.WalkDir(full, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			left++
		}
		return err
	}))
	if left > 0 {
		t.Errorf("full, it holds %d files", left)
	}
	db.do(t, "keycloak", "DROP TABLE noise")
	_, err = taking(db, Folder(full), key).Take(t.Context(), at(2))
	must(t, err)

	away := Folder(filepath.Join(t.TempDir(), "mnt"))
	if _, err := taking(db, away, key).Take(t.Context(), at(1)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("away, it says %v", err)
	}
	if _, err := os.Stat(string(away)); err == nil {
		t.Error("a mount that is missing is made up for")
	}

	// A dump that fails in its middle.
	db.tail = cut(3<<20, errPower)
	d := Folder(t.TempDir())
	if _, err := taking(db, d, key).Take(t.Context(), at(1)); !errors.Is(err, errPower) || !strings.Contains(err.Error(), "dump: ") {
		t.Errorf("cut short, it says %v", err)
	}
	if got := names(t, d); len(got) > 0 {
		t.Errorf("cut short, there is %v", got)
	}
}
