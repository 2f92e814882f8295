package local

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"

	"github.com/cloakwork/cloakwork/reconcile/platform/local/dataplane"
)

// resident is a process of ours that the data plane of a region has run beside its nodes: in a slot like a node's, which gets no
// requests. Nodes' names end with a number.
type resident struct{ slot, flag string }

var (
	watcher = resident{"watcher", "--watch"}
	shipper = resident{"shipper", "--ship"}
)

// command is how the data plane of a region runs it: with what finds the programs of a node and of PostgreSQL, and no secret of
// ours. What of that is the surroundings of whoever asks makes no other revision.
func (r resident) command(s site, region string) (c dataplane.Command, revision string) {
	c.Argv = []string{s.Binary, "dataplane", r.flag, "--dir", s.path("regions", region, "plane")}
	for _, name := range []string{"PATH", "HOME", "JAVA_HOME", "CLOAKWORK_CACHE"} {
		if value, there := os.LookupEnv(name); there {
			c.Env = append(c.Env, name+"="+value)
		}
	}
	c.Dir, c.Log = "/", s.path("regions", region, "log", r.slot+".log")
	sum := sha256.Sum256([]byte(strings.Join(c.Argv, "\x00")))
	return c, hex.EncodeToString(sum[:digestSize])
}

// told tells whether a region's data plane has been told to have it run, as far as that can be seen.
func (s site) told(seen seenRegion, r resident) bool {
	_, revision := r.command(s, seen.name)
	slot := seen.Told.Nodes[r.slot]
	return !seen.answers || slot.Run && slot.Revision == revision
}

// engage has a region's data plane run it. One that doesn't answer is told when that is back.
func (s site) engage(ctx context.Context, region string, r resident, epoch int64) error {
	command, revision := r.command(s, region)
	if err := s.write(command, "regions", region, "plane", "nodes", r.slot, revision+".json"); err != nil {
		return err
	}
	plane := s.plane(region)
	seen, err := plane.Look(ctx)
	if err != nil {
		return nil // it stays drift
	}
	if slot, known := seen.Told.Nodes[r.slot]; known && slot.Run && slot.Revision != revision {
		if err := plane.Stop(ctx, epoch, r.slot, stopTime); err != nil {
			return err
		}
	}
	return plane.Run(ctx, epoch, r.slot, revision)
}

// dismiss has a region's data plane run it no longer. Where that doesn't answer, the process ends by itself: nobody tells it
// anything any longer.
func (s site) dismiss(ctx context.Context, region string, r resident, epoch int64) error {
	plane := s.plane(region)
	seen, err := plane.Look(ctx)
	if err != nil {
		return nil
	}
	if _, known := seen.Told.Nodes[r.slot]; !known {
		return nil
	}
	if err := plane.Stop(ctx, epoch, r.slot, stopTime); err != nil {
		return err
	}
	return plane.Remove(ctx, epoch, r.slot)
}

// replaced tells whether the program that this process runs isn't at its path any longer.
func replaced() bool {
	program, err := os.Readlink("/proc/self/exe")
	return err == nil && strings.HasSuffix(program, " (deleted)")
}
