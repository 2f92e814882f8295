package platformtest_test

import (
	"testing"
	"time"

	"github.com/cloakwork/cloakwork/reconcile/platform"
	"github.com/cloakwork/cloakwork/reconcile/platform/platformtest"
	"github.com/cloakwork/cloakwork/schema"
)

// eu is a deployment as a manifest would declare it.
func eu(revision, version string) schema.Deployment {
	return schema.Deployment{Name: "eu", Platform: "local", Revision: revision, Version: version, Instances: 3,
		Regions: []schema.Region{{Name: "paris"}, {Name: "milan"}}, Active: "paris", Standby: "warm",
		DB: schema.Database{Replication: "synchronous", WhenStandbyLost: "wait"}, Failover: schema.Failover{Mode: "manual", After: schema.Duration(time.Second)},
		Update: schema.Update{Strategy: "Auto", OnFailure: "hold"}, Limits: schema.NodeLimits{NodesDown: 1},
		Network: schema.Network{Login: []schema.Rule{{Allow: "0.0.0.0/0"}}}}
}

func subject(m *platformtest.Memory) platformtest.Subject {
	edited := eu("r1", "26.7.2")
	edited.Network = schema.Network{Admin: []schema.Rule{{Allow: "10.0.0.0/8"}, {Deny: "0.0.0.0/0"}}}
	edited.TLS.Certificate = "tls/tls.crt"
	return platformtest.Subject{
		Open: func() platformtest.Opened {
			p := m.Process()
			return platformtest.Opened{Driver: p, Crash: p.Crash}
		},
		Want: eu("r1", "26.7.2"), Next: eu("r2", "26.7.3"), Broken: eu("broken", "26.7.2"), Edited: edited,
		Kill:  func(node string) error { m.Kill(node); return nil },
		Looks: 2000,
	}
}

func memory(pace int) *platformtest.Memory {
	return &platformtest.Memory{Pace: pace, Restart: 2, Breaks: func(n platform.Node) bool { return n.Revision == "broken" }}
}

func TestMemoryIsAPlatform(t *testing.T) {
	platformtest.Test(t, func(t *testing.T) platformtest.Subject { return subject(memory(1)) })
	platformtest.TestRegions(t, func(t *testing.T) platformtest.Subject { return subject(memory(1)) })
}

func TestMemoryIsAPlatformHoweverSlow(t *testing.T) {
	platformtest.Test(t, func(t *testing.T) platformtest.Subject { return subject(memory(7)) })
	platformtest.TestRegions(t, func(t *testing.T) platformtest.Subject { return subject(memory(7)) })
}
