package status

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAPendingStatusIsNeverLeftWhileACommitDriftsRepeatedly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forge := &board{}
		p := &Poster{Forge: forge}
		for _, s := range []State{Success, Failure, Success, Pending, Failure, Success} {
			time.Sleep(time.Second)
			if err := p.Post(t.Context(), status(s, "x")); err != nil {
				t.Fatal(err)
			}
		}
		since := time.Now().Add(-4 * time.Second).Format("15:04")
		want := []string{"success: x", "failure: x", "success: x", "pending: x", "failure: drifts repeatedly, 2 times since " + since + "; x"}
		if diff := cmp.Diff(want, forge.says()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestPendingIsNoFlip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forge := &board{}
		p := &Poster{Forge: forge}
		var want []string
		for _, s := range []State{Error, Pending, Error, Pending, Error, Pending, Success} {
			want = append(want, string(s)+": x")
			if err := p.Post(t.Context(), status(s, "x")); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(want, forge.says()); diff != "" {
			t.Error(diff)
		}
	})
}
