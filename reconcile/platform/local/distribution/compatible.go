package distribution

import (
	"context"
	"fmt"
	"maps"
	"os"
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
	if code, out, err := s.ask(ctx, old, home, "metadata", metadata); err != nil || code != 0 {
		return "", fmt.Sprintf("Keycloak %s doesn't say what it is: update-compatibility metadata ended with %d: %s", old.Build.Version, code, out), err
	}
	code, out, err := s.ask(ctx, new, home, "check", metadata)
	if err != nil {
		return "", "", err
	}
	switch code {
	case 0:
		return platform.Compatible, "", nil
	case 3:
		return platform.Incompatible, out, nil
	case 4:
		return "", fmt.Sprintf("Keycloak %s doesn't compare: its feature rolling-updates is off", new.Build.Version), nil
	default:
		return "", fmt.Sprintf("update-compatibility check of Keycloak %s ended with %d: %s", new.Build.Version, code, out), nil
	}
}

// ask runs one of the two commands, and says how it ended and what it said last.
func (s Store) ask(ctx context.Context, r Running, home, verb, file string) (code int, says string, err error) {
	if err := r.Build.home(home, r.Spec, r.Node, s.UID, s.GID); err != nil {
		return 0, "", err
	}
	argv, env := r.Build.Run(home, r.Spec, r.Node, append([]string{"update-compatibility", verb, "--optimized", "--file=" + file}, options(r.Spec, r.Node)...)...)
	cmd := s.command(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.Dir = env, home
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || ctx.Err() != nil {
		return 0, "", err
	}
	var why []string
	for line := range strings.Lines(string(out)) {
		if _, reason, ok := strings.Cut(line, "Rolling Update is not available. "); ok {
			why = append(why, strings.TrimSpace(reason))
		}
	}
	if len(why) == 0 {
		why = []string{LastLines(string(out), slices.Concat(r.Spec.Hidden, slices.Collect(maps.Values(r.Node.Secrets))))}
	}
	return cmd.ProcessState.ExitCode(), strings.Join(why, " "), nil
}
