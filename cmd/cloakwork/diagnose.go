package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloakwork/cloakwork/drift"
	"github.com/cloakwork/cloakwork/schema"
)

func (c *cli) diagnose() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "diagnose",
		Short: "Put together what helps to find out what is wrong, without secrets",
		Long: "Diagnose writes a bundle (tar.gz, readable by you alone): versions, the controller's configuration, what it last reported,\n" +
			"deployments as they are now, the last lines of their logs and, of a controller that serves metrics, these and what it is\n" +
			"doing. Secrets are left out, wherever they stand; look through it before you give it away all the same.",
		Example: "  cloakwork diagnose --config /etc/cloakwork/cloakwork.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				out = "cloakwork-" + time.Now().UTC().Format("20060102T150405Z") + ".tar.gz"
			}
			return c.bundled(cmd.Context(), out)
		},
	}
	c.stateFlags(cmd.Flags())
	cmd.Flags().StringVar(&out, "out", "", "new file for the bundle (default cloakwork-TIME.tar.gz)")
	return cmd
}

// bundle is what diagnose puts together. What can't be had is noted, and stops nothing.
type bundle struct {
	*cli
	hide    *hiding
	files   map[string]string // by name
	missing []string
}

func (b *bundle) add(name, text string) { b.files[name] = b.hide.in(text) }

func (b *bundle) addJSON(name string, v any) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		b.lacks("%s: %v", name, err)
		return
	}
	b.add(name, string(text)+"\n")
}

func (b *bundle) lacks(format string, args ...any) {
	b.missing = append(b.missing, fmt.Sprintf(format, args...))
}

func (c *cli) bundled(ctx context.Context, out string) error {
	if _, err := os.Lstat(out); err == nil {
		return advise("give the name of a new file", "--out: %s is there already", out)
	}
	conf, err := c.readConfig()
	var ended exit
	if err != nil && !errors.As(err, &ended) { // its problems have been printed, and are no reason to stop
		return err
	}
	p := c.openPlatforms(conf)
	b := &bundle{cli: c, hide: c.hiding(conf, p), files: map[string]string{}}
	if err != nil {
		b.lacks("the configuration: it has problems")
	}
	b.program(conf)
	b.found(ctx, p)
	b.logs(p)
	return b.write(out)
}

// program is what runs, and how it is set up.
func (b *bundle) program(conf *config) {
	text := fmt.Sprintf("cloakwork %s, for Keycloak %s\n%s/%s, %d CPUs\n", version(), strings.Join(schema.Versions(), ", "), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	if info, ok := debug.ReadBuildInfo(); ok {
		text += "\n" + info.String()
	}
	b.add("version.txt", text)
	if conf != nil {
		b.addJSON("configuration.json", conf.Controller)
	}
	var names []string
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		for _, ours := range []string{"CLOAKWORK_", "KEYCLOAK_", "KC_", "SOPS_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"} {
			if strings.HasPrefix(strings.ToUpper(name), ours) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	b.add("environment.txt", "Set, with whatever value:\n"+strings.Join(slices.Compact(names), "\n")+"\n")
}

// found is what controllers wrote down, and what can be seen now.
func (b *bundle) found(ctx context.Context, p *platforms) {
	s, err := b.stand(ctx, p)
	if err != nil {
		b.lacks("status: %v", err)
		return
	}
	b.addJSON("status.json", s)
	var text strings.Builder
	s.text(&text, plain)
	b.add("status.txt", text.String())
	all, _ := recall(p.state) // stand has read them
	for _, r := range all {
		b.addJSON("sources/"+r.Source+".json", r)
		if r.Metrics == "" {
			b.lacks("metrics and goroutines of the controller of source %s: it serves none", r.Source)
			continue
		}
		for _, what := range []string{"metrics", "goroutines"} {
			text, err := fetch(ctx, "http://"+r.Metrics+"/"+what)
			if err != nil {
				b.lacks("%s of the controller of source %s: %v", what, r.Source, err)
				continue
			}
			b.add("controller/"+r.Source+"/"+what+".txt", text)
		}
	}
}

// How much is taken along.
const (
	largestPart = 4 << 20  // bytes of metrics and goroutines
	lastOfLog   = 64 << 10 // bytes
	mostLogs    = 200
)

func fetch(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, largestPart))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New(answer.Status)
	}
	return string(text), err
}

// logs are the last lines of what nodes, data planes and databases wrote.
func (b *bundle) logs(p *platforms) {
	for _, folder := range p.folders() {
		n := 0
		err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				b.lacks("%s: %v", path, err)
				return nil
			}
			if !entry.Type().IsRegular() || filepath.Ext(path) != ".log" {
				return nil
			}
			if n++; n > mostLogs {
				b.lacks("logs beyond %d", mostLogs)
				return fs.SkipAll
			}
			text, err := lastLines(path)
			if err != nil {
				b.lacks("%s: %v", path, err)
				return nil
			}
			within, err := filepath.Rel(folder, path)
			b.add("logs/"+filepath.ToSlash(within), text)
			return err
		})
		if err != nil {
			b.lacks("logs in %s: %v", folder, err)
		}
	}
}

// lastLines is the end of a file, from the beginning of a line on.
func lastLines(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	from := max(0, info.Size()-lastOfLog)
	text, err := io.ReadAll(io.NewSectionReader(f, from, lastOfLog))
	if _, rest, ok := strings.Cut(string(text), "\n"); from > 0 && ok {
		return rest, err
	}
	return string(text), err
}

// write makes the bundle, which nobody else may read.
func (b *bundle) write(out string) (err error) {
	readme := "What cloakwork diagnose found. Values that are secret, or stand where secrets do, are left out.\n"
	if len(b.missing) > 0 {
		readme += "\nNot here:\n- " + strings.Join(b.missing, "\n- ") + "\n"
	}
	b.add("README.txt", readme)
	f, err := os.OpenFile(out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			os.Remove(out)
		}
	}()
	packed := gzip.NewWriter(f)
	archive := tar.NewWriter(packed)
	now := time.Now()
	for _, name := range sortedNames(b.files) {
		text := b.files[name]
		if err := archive.WriteHeader(&tar.Header{Name: "cloakwork/" + b.hide.in(name), Mode: 0o600, Size: int64(len(text)), ModTime: now}); err != nil {
			return err
		}
		if _, err := io.WriteString(archive, text); err != nil {
			return err
		}
	}
	if err := errors.Join(archive.Close(), packed.Close()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(b.out, "%s: %s\n", drift.Escape(out), count(len(b.files), "file"))
	return err
}

func sortedNames(files map[string]string) []string {
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
