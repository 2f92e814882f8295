package main

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"code.gitea.io/sdk/gitea"

	"github.com/cloakwork/cloakwork/drift/status"
	"github.com/cloakwork/cloakwork/drift/status/forgetest"
)

// forge is where the repository lives and where commits have their statuses.
type forge interface {
	// start makes an empty repository and gives the URL to push to and the flags of the controller for it.
	start(ctx context.Context, w *world) (url string, flags []string, err error)
	// statuses are all that a commit ever had of a context, oldest first.
	statuses(ctx context.Context, w *world, commit, context string) ([]status.Status, error)
	// show shows what a person sees of a commit, or of all that its context ever had.
	show(ctx context.Context, w *world, commit string) error
	history(ctx context.Context, w *world, commit, context string) error
	address() string
	stop()
}

// notes is a bare repository, whose statuses are git notes.
type notes struct{ path string }

func (n *notes) start(ctx context.Context, w *world) (string, []string, error) {
	n.path = filepath.Join(w.dir, "realms.git")
	return n.path, []string{"--repository", "realms.git", "--notes"}, w.shell(ctx, "git init --quiet --bare --initial-branch=main realms.git")
}

func (n *notes) statuses(ctx context.Context, w *world, commit, context string) ([]status.Status, error) {
	if _, err := w.git(ctx, "-C", n.path, "rev-parse", "--quiet", "--verify", "refs/notes/cloakwork"); err != nil {
		return nil, ctx.Err() // there are none yet
	}
	log, err := w.git(ctx, "-C", n.path, "log", "--reverse", "--format=", "--patch", "refs/notes/cloakwork", "--", "*"+commit[2:])
	if err != nil {
		return nil, err
	}
	var found []status.Status
	for line := range strings.Lines(log) {
		if rest, ok := strings.CutPrefix(line, "+"+context+": "); ok {
			state, says, _ := strings.Cut(strings.TrimSpace(rest), ": ")
			found = append(found, status.Status{Commit: commit, Context: context, State: status.State(state), Says: says})
		}
	}
	return found, nil
}

func (n *notes) show(ctx context.Context, w *world, commit string) error {
	return w.shell(ctx, "git -C realms.git log -1 --notes=cloakwork --format='%h %s%n%n%N' "+commit[:7])
}

func (n *notes) history(ctx context.Context, w *world, commit, context string) error {
	return w.shell(ctx, "git -C realms.git log --reverse --format= -p refs/notes/cloakwork | grep '^+"+context+"'")
}

func (n *notes) address() string { return n.path }
func (n *notes) stop()           {}

// giteaForge is a Gitea, with its commit statuses.
type giteaForge struct {
	server *forgetest.Gitea
	client *gitea.Client
}

const giteaRepository = "realms"

func (g *giteaForge) start(ctx context.Context, w *world) (string, []string, error) {
	done := w.during("starting Gitea")
	defer done()
	_, err := forgetest.Build(ctx, w)
	if err != nil {
		return "", nil, err
	}
	// The world's end ends the server, after the controller: not an interrupt.
	if g.server, err = forgetest.Start(context.WithoutCancel(ctx), filepath.Join(w.dir, "gitea"), w); err != nil {
		return "", nil, err
	}
	if g.client, err = gitea.NewClient(g.server.URL, gitea.SetToken(g.server.Token)); err != nil {
		return "", nil, err
	}
	url, err := g.server.CreateRepository(ctx, giteaRepository)
	if err != nil {
		return "", nil, err
	}
	w.env = append(w.env, "CLOAKWORK_GIT_TOKEN="+g.server.Token)
	w.say("A Gitea runs at %s, with an empty repository.", g.server.URL)
	return strings.Replace(url, "://", "://"+g.server.User+":"+g.server.Token+"@", 1),
		[]string{"--repository", url, "--forge", "gitea"}, nil
}

func (g *giteaForge) statuses(_ context.Context, _ *world, commit, context string) ([]status.Status, error) {
	list, _, err := g.client.ListStatuses(g.server.User, giteaRepository, commit, gitea.ListStatusesOption{ListOptions: gitea.ListOptions{PageSize: 50}})
	if err != nil {
		return nil, fmt.Errorf("read the statuses of %.7s: %w", commit, err)
	}
	slices.SortFunc(list, func(a, b *gitea.Status) int { return cmp.Compare(a.ID, b.ID) })
	var found []status.Status
	for _, s := range list {
		if s.Context == context {
			found = append(found, status.Status{Commit: commit, Context: context, State: status.State(s.State), Says: s.Description})
		}
	}
	return found, nil
}

func (g *giteaForge) show(_ context.Context, w *world, commit string) error {
	w.request(fmt.Sprintf("GET %s/api/v1/repos/%s/%s/commits/%.7s/status", g.server.URL, g.server.User, giteaRepository, commit))
	combined, _, err := g.client.GetCombinedStatus(g.server.User, giteaRepository, commit)
	if err != nil {
		return fmt.Errorf("read the combined status of %.7s: %w", commit, err)
	}
	w.output(fmt.Sprintf("state: %s\n", combined.State))
	for _, s := range combined.Statuses {
		w.output(fmt.Sprintf("%s: %s: %s\n", s.Context, s.State, s.Description))
	}
	return nil
}

func (g *giteaForge) history(ctx context.Context, w *world, commit, context string) error {
	w.request(fmt.Sprintf("GET %s/api/v1/repos/%s/%s/commits/%.7s/statuses", g.server.URL, g.server.User, giteaRepository, commit))
	list, err := g.statuses(ctx, w, commit, context)
	for _, s := range list {
		w.output(fmt.Sprintf("%s: %s: %s\n", s.Context, s.State, s.Says))
	}
	return err
}

func (g *giteaForge) address() string {
	return fmt.Sprintf("%s/%s/%s  (%s, %s)", g.server.URL, g.server.User, giteaRepository, g.server.User, g.server.Password)
}

func (g *giteaForge) stop() {
	if g.server != nil {
		g.server.Stop()
	}
}
