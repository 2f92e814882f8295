package distribution

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// trialTime is how long a server may take until it is ready, on an empty database in memory. On an idle machine that is half a
// minute; three haven't been enough beside three nodes in use on two busy cores, and what is slow isn't wrong.
const trialTime = 10 * time.Minute

// Try builds a Spec and starts it once, on a database in memory and free ports of 127.0.0.1, until /health/ready answers; then
// it is gone again. It joins no cluster: Keycloak only reads the cache configuration. What doesn't get so far is *Refused,
// with the end of its log. The database is chosen when Keycloak is built, so that the trial has a build of its own.
func (s Store) Try(ctx context.Context, spec Spec) error {
	if err := s.try(ctx, spec); err != nil {
		return wrap("try Keycloak "+spec.Version, err)
	}
	return nil
}

func (s Store) try(ctx context.Context, spec Spec) error {
	spec.Build = maps.Clone(spec.Build)
	if spec.Build == nil {
		spec.Build = map[string]string{}
	}
	spec.Build["db"], spec.Build["health-enabled"] = "dev-mem", "true"
	spec.Options, spec.Secrets = without(spec.Options, "db-"), without(spec.Secrets, "db-")
	b, err := s.Build(ctx, spec)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(filepath.Dir(b.Dir), "trial.*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil { // for who runs the home in it
		return err
	}
	home := filepath.Join(dir, "home")
	s.say("trying Keycloak %s", spec.Version)
	code, out, err := s.ask(ctx, Running{Build: b, Spec: spec}, home, "metadata", filepath.Join(home, "tmp", "metadata.json"))
	if err != nil {
		return err
	}
	if code != 0 && code != featureOff {
		return &Refused{Why: cmp.Or(Cause(out, spec.Hidden), fmt.Sprintf("update-compatibility metadata ended with %d", code)), Log: LastLines(out, spec.Hidden)}
	}

	port, err := FreePort()
	if err != nil {
		return err
	}
	management, err := FreePort()
	if err != nil {
		return err
	}
	node := Node{Options: map[string]string{
		"cache": "local", "hostname-strict": "false", "http-enabled": "true", "http-host": "127.0.0.1", "http-port": strconv.Itoa(port),
		"http-management-port": strconv.Itoa(management), "http-management-scheme": "http",
	}, Java: hasty}
	spec.Options, spec.Secrets = without(spec.Options, "cache"), without(spec.Secrets, "cache") // which only a cluster knows
	if err := b.home(home, spec, node, s.UID, s.GID); err != nil {
		return err
	}
	argv, env := b.Command(home, spec, node)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env, cmd.Dir, cmd.SysProcAttr = env, home, s.credential()
	ctx, cancel := context.WithTimeout(ctx, trialTime)
	defer cancel()
	path := spec.Build["http-management-relative-path"]
	if path == "" {
		path = spec.Build["http-relative-path"]
	}
	health := fmt.Sprintf("http://127.0.0.1:%d%s/health/ready", management, strings.TrimSuffix(path, "/"))
	server, err := StartScratch(ctx, cmd, filepath.Join(dir, "server.log"), health, spec.Hidden)
	if err != nil {
		return err
	}
	return server.Stop()
}

// hasty has a JVM that doesn't live long start in half the time.
var hasty = []string{"-XX:TieredStopAtLevel=1"}

// without are the options whose names don't begin so.
func without(options map[string]string, prefix string) map[string]string {
	rest := maps.Clone(options)
	maps.DeleteFunc(rest, func(name, _ string) bool { return strings.HasPrefix(name, prefix) })
	return rest
}
