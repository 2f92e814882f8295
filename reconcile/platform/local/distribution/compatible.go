package distribution

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cloakwork/cloakwork/reconcile/platform"
)

// Running is one side of a comparison: a build and what a node of it runs with.
type Running struct {
	Build Build
	Spec  Spec
	Node  Node
}

// Compatible asks Keycloak's update-compatibility whether nodes of two revisions may serve beside each other: whether those
// that run may be replaced by the new ones, one by one. The sentence says why not. A verdict of "" is that nobody knows, as
// where an answer isn't understood.
func (s Store) Compatible(ctx context.Context, old, new Running) (platform.Verdict, string, error) {
	verdict, says, err := s.compatible(ctx, old, new)
	if err != nil {
		return "", "", fmt.Errorf("compare Keycloak %s with %s: %w", old.Build.Version, new.Build.Version, err)
	}
	return verdict, says, nil
}

func (s Store) compatible(ctx context.Context, old, new Running) (platform.Verdict, string, error) {
	cache, err := s.dir()
	if err != nil {
		return "", "", err
	}
	dir, err := os.MkdirTemp(cache, "compare.*")
	if err != nil {
		return "", "", err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil {
		return "", "", err
	}
	// Both have the same home, one after the other: 26.4 takes the path of the cache configuration for a part of it.
	home := filepath.Join(dir, "home")
	metadata := filepath.Join(home, "tmp", "metadata.json")
	r, verb := old, "metadata"
	code, printed, err := s.ask(ctx, r, home, verb, metadata)
	if err == nil && code == 0 {
		r, verb = new, "check"
		code, printed, err = s.ask(ctx, r, home, verb, metadata)
	}
	switch {
	case err != nil:
		return "", "", err
	case code == 0:
		return platform.Compatible, "", nil
	case code == 3:
		return platform.Incompatible, r.reasons(printed), nil
	case code == featureOff:
		return "", fmt.Sprintf("Keycloak %s doesn't compare: its feature rolling-updates is off", r.Build.Version), nil
	default:
		return "", fmt.Sprintf("update-compatibility %s of Keycloak %s ended with %d: %s", verb, r.Build.Version, code, r.reasons(printed)), nil
	}
}

// featureOff is how update-compatibility ends where a build lacks the feature rolling-updates.
const featureOff = 4

// ask runs one of the two commands, and says how it ended and what it printed.
func (s Store) ask(ctx context.Context, r Running, home, verb, file string) (code int, printed string, err error) {
	if err := r.Build.home(home, r.Spec, r.Node, s.UID, s.GID); err != nil {
		return 0, "", err
	}
	r.Node.Java = slices.Concat(r.Node.Java, hasty)
	argv, env := r.Build.Run(home, r.Spec, r.Node, append([]string{"update-compatibility", verb, "--optimized", "--file=" + file}, options(r.Spec, r.Node)...)...)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.Dir, cmd.SysProcAttr = env, home, s.credential()
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return 0, "", ctx.Err()
	}
	if cmd.ProcessState == nil {
		return 0, "", err
	}
	return cmd.ProcessState.ExitCode(), string(out), nil
}

// reasons are what Keycloak says against replacing nodes one by one.
func (r Running) reasons(printed string) string {
	var why []string
	for line := range strings.Lines(printed) {
		if _, reason, ok := strings.Cut(line, "Rolling Update is not available. "); ok {
			why = append(why, strings.TrimRight(strings.TrimSpace(reason), "]"))
		}
	}
	if len(why) > 0 {
		return strings.Join(why, " ")
	}
	return Cause(printed, slices.Concat(r.Spec.Hidden, slices.Collect(maps.Values(r.Node.Secrets))))
}
