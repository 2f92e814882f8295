package reconcile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/schema"
)

func pointAt(at time.Time, commit string) restorePoint {
	return restorePoint{Cloakwork: restoreHeader, Version: restoreVersion, Made: at, Server: "eu", Realm: "../acme", Source: "s", Commit: commit,
		Objects: []savedObject{{Op: drift.Delete, Address: "clients/portal", ID: "17", Fields: map[string]any{"secret": "portal-s3cret"}}}}
}

func TestRestorePointsAreKeptForTheirTimeAndTheNewestForEver(t *testing.T) {
	r := RestorePoints{Folder: filepath.Join(t.TempDir(), "restore"), Keep: 24 * time.Hour}
	begin := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	ref := schema.RealmRef{Server: "eu", Realm: "../acme"}
	for _, step := range []struct {
		after time.Duration
		want  []string
	}{
		{0, []string{"0s"}},
		{23 * time.Hour, []string{"23h0m0s", "0s"}},
		{25 * time.Hour, []string{"25h0m0s", "23h0m0s"}},
		{1000 * time.Hour, []string{"1000h0m0s"}},
	} {
		if err := r.write(pointAt(begin.Add(step.after), step.after.String())); err != nil {
			t.Fatal(err)
		}
		points, sealed, err := r.read(ref, "s", nil)
		if err != nil || sealed > 0 {
			t.Fatalf("%v, %d sealed", err, sealed)
		}
		var got []string
		for _, p := range points {
			got = append(got, p.Commit)
		}
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("after %s (-want +got):\n%s", step.after, diff)
		}
	}
	if points, _, err := r.read(ref, "another source", nil); err != nil || len(points) > 0 {
		t.Errorf("another source reads %v, %v", points, err)
	}
	entries, err := os.ReadDir(r.of(ref))
	if err != nil || !strings.HasPrefix(r.of(ref), r.Folder+"/eu/") || len(entries) != 1 {
		t.Errorf("%s holds %v, %v", r.of(ref), entries, err)
	}
	for path, want := range map[string]os.FileMode{r.of(ref): 0o700 | os.ModeDir, filepath.Join(r.of(ref), entries[0].Name()): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v, want %v (%v)", path, info.Mode(), want, err)
		}
	}
}

func TestARestorePointOpensToItsRecipientAlone(t *testing.T) {
	mine, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	r := RestorePoints{Folder: t.TempDir(), Recipients: []age.Recipient{mine.Recipient()}, Keep: time.Hour}
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	if err := r.write(pointAt(at, "c")); err != nil {
		t.Fatal(err)
	}
	ref := schema.RealmRef{Server: "eu", Realm: "../acme"}
	for _, keys := range []RestoreKeys{nil, {other}} {
		if points, sealed, err := r.read(ref, "s", keys); err != nil || sealed != 1 || len(points) > 0 {
			t.Errorf("by %v: %v, %d sealed, %v", keys, points, sealed, err)
		}
	}
	points, sealed, err := r.read(ref, "s", RestoreKeys{other, mine})
	if err != nil || sealed > 0 {
		t.Fatalf("%v, %d sealed", err, sealed)
	}
	if diff := cmp.Diff([]restorePoint{pointAt(at, "c")}, points); diff != "" {
		t.Errorf("(-written +read):\n%s", diff)
	}
	text, err := os.ReadFile(filepath.Join(r.of(ref), "20261101T120000.000000000Z-c.json.age"))
	if err != nil || strings.Contains(string(text), "portal") {
		t.Errorf("the file shows %q, %v", text, err)
	}
}
