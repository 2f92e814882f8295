package dataplane

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cloakwork/cloakwork/schema"
)

// twoRegions are paris and milan, each with a node, who know the way to each other.
func twoRegions(t *testing.T) (paris, milan *region) {
	t.Helper()
	a := newAuthority(t)
	toParis, toMilan := freeAddress(t), freeAddress(t)
	paris = newRegion(t, Config{Region: "paris", DB: "/nowhere", Listen: Listen{Inside: freeAddress(t), Peers: toParis}, Peers: map[string]string{"milan": toMilan}})
	milan = newRegion(t, Config{Region: "milan", DB: "/nowhere", Listen: Listen{Inside: freeAddress(t), Peers: toMilan}, Peers: map[string]string{"paris": toParis}})
	for _, r := range []*region{paris, milan} {
		cert, key := a.pair(r.config.Region)
		put(t, filepath.Join(r.Dir, "tls/peer.crt"), cert)
		put(t, filepath.Join(r.Dir, "tls/peer.key"), key)
		put(t, filepath.Join(r.Dir, "tls/peer-ca.crt"), a.ca())
		r.start().up(1, r.config.Region+"-0")
	}
	return paris, milan
}

func (r *region) route(epoch int64, primary string) {
	r.t.Helper()
	_, err := r.Route(r.ctx, epoch, []string{primary})
	r.must(err)
}

func TestEachFrontLeadsToTheActiveRegion(t *testing.T) {
	paris, milan := twoRegions(t)
	expect := func(at, by *region) {
		t.Helper()
		if status, pid := get(t, at.url("/realms/pid")); status != http.StatusOK || pid != strconv.Itoa(by.pids()[by.config.Region+"-0"]) {
			t.Errorf("%s answers %d, by process %s, want %s's node", at.config.Region, status, pid, by.config.Region)
		}
	}
	expect(milan, milan) // as long as nobody says that another is active
	for i, active := range []*region{paris, milan, paris} {
		for _, r := range []*region{paris, milan} {
			r.route(int64(2+i), active.config.Region)
		}
		expect(paris, active)
		expect(milan, active)
	}
	if _, pid := get(t, "http://"+milan.config.Listen.Inside+"/realms/pid"); pid != strconv.Itoa(milan.pids()["milan-0"]) {
		t.Error("who manages milan's nodes is led elsewhere")
	}
	// A client is who he is, and not the front that he came in by.
	paris.must(paris.Settle(paris.ctx, 5, Settings{Login: []schema.Rule{{Deny: "127.0.0.0/8"}}}))
	if status, _ := get(t, milan.url("/realms/pid")); status != http.StatusForbidden {
		t.Errorf("by milan's front, paris answers %d to whom it lets not in", status)
	}
	paris.must(paris.Settle(paris.ctx, 5, Settings{}))
	milan.must(milan.Settle(milan.ctx, 5, Settings{Trusted: []string{"127.0.0.1/32"}}))
	paris.must(paris.Settle(paris.ctx, 5, Settings{Login: []schema.Rule{{Allow: "192.0.2.7/32"}, {Deny: "0.0.0.0/0"}}}))
	r, err := http.NewRequestWithContext(milan.ctx, http.MethodGet, milan.url("/realms/pid"), nil)
	paris.must(err)
	r.Header.Set("X-Forwarded-For", "192.0.2.7")
	answer, err := http.DefaultClient.Do(r)
	paris.must(err)
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("paris answers %d to a client that milan's front knows by a proxy", answer.StatusCode)
	}
}

func TestWhoeverIsLedToAnotherRegionLosesNothingToUpgradesAndWaitsWhileItIsLost(t *testing.T) {
	paris, milan := twoRegions(t)
	for _, r := range []*region{paris, milan} {
		r.route(2, "paris")
	}
	l := milan.load(4, false)
	l.more(t, 50)
	for _, r := range []*region{paris, milan, paris} {
		r.must(r.Upgrade(r.ctx, 2))
		l.more(t, 50)
	}
	if _, err := milan.Gate(milan.ctx, 3); err != nil { // and nothing is under way any more
		t.Fatal(err)
	}
	if got := milan.look().Waiting; got > 4 {
		t.Errorf("%d requests wait", got)
	}
	milan.must(milan.Open(milan.ctx, 3))
	l.more(t, 50)
	l.end(t)
	l.none(t)

	paris.must(paris.End(paris.ctx, 2)) // it is lost: nobody listens there
	answered := make(chan string, 1)
	go func() { _, pid := get(t, milan.url("/realms/pid")); answered <- pid }()
	eventually(t, "it waits", func() bool { return milan.look().Waiting == 1 })
	milan.must(milan.Hold(milan.ctx, 4))
	if got := milan.look().Waiting; got != 1 {
		t.Errorf("while the primary is changed %d requests wait, want 1", got)
	}
	milan.route(5, "milan")
	if pid := <-answered; pid != strconv.Itoa(milan.pids()["milan-0"]) {
		t.Errorf("answered by %s, want milan's node", strings.TrimSpace(pid))
	}
	binary, err := os.Executable()
	paris.must(err)
	paris.must(paris.Start(paris.ctx, binary)) // for the end of the test
}
