package schema

import (
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

const backedUp = small + "  regions: [{name: paris, location: eu-west, provider: acme}, {name: milan, location: eu-south}]\n  residency: [eu-*]\n"

func TestBackupsStandElsewhereAndWhereDataMayBe(t *testing.T) {
	c, problems := controller(wholeController + "backups: {identity: {file: key}, prove: \"0 5 * * *\"}\n")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	c.Destinations["near"] = Destination{Folder: "/n", Location: "eu-west", Provider: "other"}
	c.Destinations["ours"] = Destination{Folder: "/o", Location: "eu-south", Provider: "acme"}
	c.Destinations["us"] = Destination{Folder: "/u", Location: "us-east", Provider: "cloud"}
	copied := func(to string) string { return "{to: " + to + ", schedule: \"0 3 * * *\", encrypt: none}" }
	for text, want := range map[string]string{
		"  backups: [" + copied("far") + "]\n":                          "",
		"  backups: [" + copied("near") + ", " + copied("ours") + "]\n": "",
		"  backups: [" + copied("near") + "]\n":                         `eu.yaml:9:18: spec.backups: all stand in eu-west, where the active region paris is too; add one to a destination elsewhere`,
		"  backups: [" + copied("ours") + "]\n":                         `eu.yaml:9:18: spec.backups: all are with acme, as the active region paris is; add one to a destination of another provider`,
		"  backups: [" + copied("us") + "]\n":                           `eu.yaml:9:18: spec.backups[0].to: "us" is in us-east, which spec.residency doesn't allow; choose one that stands there`,
		"  backups: [" + copied("farr") + "]\n":                         `eu.yaml:9:18: spec.backups[0].to: the controller's configuration has no destination "farr"; did you mean far?`,
	} {
		d := c.PermitBackups(Load(fstest.MapFS{"eu.yaml": {Data: []byte(backedUp + text)}}, Options{}))
		got := ""
		for _, p := range BlockingDeployment(d.Problems, "eu") {
			got += p.String()
		}
		if diff := cmp.Diff(want, got); diff != "" || len(d.Problems) > 1 {
			t.Errorf("%s(-want +got):\n%s", text, diff)
		}
	}
	nowhere := small + "  backups: [" + copied("far") + "]\n"
	d := c.PermitBackups(Load(fstest.MapFS{"eu.yaml": {Data: []byte(nowhere)}}, Options{}))
	if len(d.Problems) != 1 || d.Problems[0].What != "spec.backups: one must stand elsewhere than region eu, which has no location" {
		t.Errorf("where nothing says where the region is: %v", d.Problems)
	}
	d = Controller{}.PermitBackups(Load(fstest.MapFS{"eu.yaml": {Data: []byte(nowhere)}}, Options{}))
	if len(d.Problems) != 1 || d.Problems[0].What != "spec.backups[0].to: the controller's configuration has no destinations" {
		t.Errorf("without any destination: %v", d.Problems)
	}
}
