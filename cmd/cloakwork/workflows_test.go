package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

// workflows are those of this repository, and those that are shown to others.
func workflows(t *testing.T) map[string]map[string]any {
	t.Helper()
	found := map[string]map[string]any{}
	for _, root := range []string{"../../.github", "../../examples"} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() && strings.Contains(filepath.ToSlash(path), ".github/workflows/") {
				found[path] = parsed(t, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

func parsed(t *testing.T, path string) map[string]any {
	t.Helper()
	m := map[string]any{}
	if err := yaml.Unmarshal([]byte(content(t, path)), &m); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return m
}

func TestWorkflowsAskForWhatThereIsAndForNoMoreRightsThanTheyNeed(t *testing.T) {
	action := newJob(t, t.TempDir(), t.TempDir()).action
	targets := content(t, "../../Makefile")
	all := workflows(t)
	if len(all) < 6 {
		t.Errorf("there are %d workflows", len(all))
	}
	for path, w := range all {
		if text := content(t, path); strings.Contains(uncommented(text), "pull_request_target") {
			t.Errorf("%s runs strangers' proposals with our secrets", path)
		}
		if _, ok := w["on"]; !ok {
			t.Errorf("%s runs on nothing", path)
		}
		if rights, ok := w["permissions"].(map[string]any); !ok || rights["contents"] != nil && rights["contents"] != "read" {
			t.Errorf("%s takes the rights %v for all jobs", path, w["permissions"])
		}
		jobs, _ := w["jobs"].(map[string]any)
		if len(jobs) == 0 {
			t.Errorf("%s has no jobs", path)
		}
		for name, j := range jobs {
			j, _ := j.(map[string]any)
			steps, _ := j["steps"].([]any)
			if j["runs-on"] == nil || len(steps) == 0 {
				t.Errorf("%s: job %s runs nothing, or nowhere", path, name)
			}
			targetsOf := matrix(j)
			for _, s := range steps {
				step, _ := s.(map[string]any)
				uses, _ := step["uses"].(string)
				run, _ := step["run"].(string)
				if (uses == "") == (run == "") {
					t.Errorf("%s: a step of %s uses or runs: %v", path, name, step)
				}
				if uses != "" && !regexp.MustCompile(`^[\w.-]+/[\w.-]+@v\d+$`).MatchString(uses) {
					t.Errorf("%s uses %s", path, uses)
				}
				if strings.HasPrefix(uses, "cloakwork/cloakwork@") {
					with, _ := step["with"].(map[string]any)
					for input := range with {
						if _, ok := action.Inputs[input]; !ok {
							t.Errorf("%s: the action has no input %s", path, input)
						}
					}
				}
				if regexp.MustCompile(`\$\{\{[^}]*(event|head_ref|inputs)`).MatchString(run) {
					t.Errorf("%s: somebody else's text stands in a script: %s", path, run)
				}
				for _, m := range regexp.MustCompile(`make (\S+)`).FindAllStringSubmatch(run, -1) {
					for _, target := range append(targetsOf, m[1]) {
						if !strings.HasPrefix(target, "${{") && !strings.Contains(targets, "\n"+target+":") {
							t.Errorf("%s: make has no target %s", path, target)
						}
					}
				}
			}
		}
	}
}

func matrix(job map[string]any) (targets []string) {
	strategy, _ := job["strategy"].(map[string]any)
	m, _ := strategy["matrix"].(map[string]any)
	list, _ := m["target"].([]any)
	for _, v := range list {
		targets = append(targets, v.(string))
	}
	return targets
}

// uncommented is YAML without its comments, as far as they stand behind a space.
func uncommented(text string) string {
	return regexp.MustCompile(`(?m)(^|\s)#.*$`).ReplaceAllString(text, "")
}

func TestEveryTargetThatMattersRunsInCI(t *testing.T) {
	jobs, _ := parsed(t, "../../.github/workflows/ci.yml")["jobs"].(map[string]any)
	ci, _ := jobs["ci"].(map[string]any)
	for _, target := range []string{"check", "test", "test-versions", "test-forge", "dist"} {
		if !slices.Contains(matrix(ci), target) {
			t.Errorf("CI doesn't run make %s", target)
		}
	}
}

// checkCommand holds a command line against the program: its verb and its flags must be there.
func checkCommand(t *testing.T, where string, root *cobra.Command, words []string) {
	t.Helper()
	cmd, _, err := root.Find(words)
	if err != nil || cmd == root {
		t.Errorf("%s: %s is no verb", where, words[0])
		return
	}
	for _, word := range words {
		flag, isFlag := strings.CutPrefix(word, "--")
		name, _, _ := strings.Cut(flag, "=")
		if isFlag && name != "help" && cmd.Flags().Lookup(name) == nil && cmd.InheritedFlags().Lookup(name) == nil {
			t.Errorf("%s: %s has no flag --%s", where, cmd.Name(), name)
		}
	}
}

func TestTheScheduledJobsShownAreAsStrictAsTheImage(t *testing.T) {
	root := newCLI(nil, nil, nil).root()
	texts := func(v any) (words []string) {
		list, _ := v.([]any)
		for _, w := range list {
			words = append(words, w.(string))
		}
		return words
	}
	at := func(v any, path ...string) any {
		for _, p := range path {
			m, _ := v.(map[string]any)
			v = m[p]
		}
		return v
	}
	cron := parsed(t, "../../docs/running/cronjob.yaml")
	if cron["apiVersion"] != "batch/v1" || cron["kind"] != "CronJob" || at(cron, "spec", "concurrencyPolicy") != "Forbid" {
		t.Errorf("the job is %v %v", cron["apiVersion"], cron["kind"])
	}
	pod := at(cron, "spec", "jobTemplate", "spec", "template", "spec")
	containers, _ := at(pod, "containers").([]any)
	if len(containers) != 1 || at(pod, "securityContext", "runAsUser") != 65534 || at(pod, "securityContext", "runAsNonRoot") != true {
		t.Fatalf("the pod is %v", pod)
	}
	c := containers[0]
	if at(c, "securityContext", "readOnlyRootFilesystem") != true || at(c, "securityContext", "allowPrivilegeEscalation") != false || len(texts(at(c, "securityContext", "capabilities", "drop"))) != 1 {
		t.Errorf("the container may %v", at(c, "securityContext"))
	}
	checkCommand(t, "cronjob.yaml", root, texts(at(c, "args")))

	compose := parsed(t, "../../docs/running/compose.yaml")
	services, _ := compose["services"].(map[string]any)
	if len(services) != 2 {
		t.Errorf("there are %d services", len(services))
	}
	run, _, _ := root.Find([]string{"run"})
	for name, s := range services {
		if at(s, "read_only") != true || at(s, "user") != "65534:65534" || at(s, "image") != at(c, "image") {
			t.Errorf("service %s is %v", name, s)
		}
		checkCommand(t, "compose.yaml", root, texts(at(s, "command")))
		environment, _ := at(s, "environment").(map[string]any)
		for variableName := range environment {
			flag, ours := strings.CutPrefix(variableName, "CLOAKWORK_")
			if flag = strings.ToLower(strings.ReplaceAll(flag, "_", "-")); ours && run.Flags().Lookup(flag) == nil {
				t.Errorf("compose.yaml: %s is no flag of run", variableName)
			}
		}
	}
}

// What pages show in a shell can be typed.
func TestCommandsInThePagesExist(t *testing.T) {
	root := newCLI(nil, nil, nil).root()
	var pages []string
	for _, pattern := range []string{"../../README.md", "../../docs/*.md", "../../examples/*/README.md"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, names...)
	}
	block := regexp.MustCompile("(?s)```sh\n(.*?)```")
	commands := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range block.FindAllStringSubmatch(string(text), -1) {
			for line := range strings.Lines(strings.ReplaceAll(b[1], "\\\n", " ")) {
				line, _, _ = strings.Cut(line, "#")
				if words := strings.Fields(line); len(words) > 1 && words[0] == "cloakwork" {
					commands++
					checkCommand(t, page, root, words[1:])
				}
			}
		}
	}
	if commands < 10 {
		t.Errorf("only %d commands were found", commands)
	}
}

func TestAReleaseGivesTheDockerfileWhatItAsksFor(t *testing.T) {
	dockerfile := content(t, "../../Dockerfile")
	declared := regexp.MustCompile(`(?m)^ARG (\w+)`).FindAllStringSubmatch(dockerfile, -1)
	jobs, _ := parsed(t, "../../.github/workflows/release.yml")["jobs"].(map[string]any)
	image, _ := jobs["image"].(map[string]any)
	steps, _ := image["steps"].([]any)
	given := 0
	for _, s := range steps {
		step, _ := s.(map[string]any)
		with, _ := step["with"].(map[string]any)
		arguments, _ := with["build-args"].(string)
		for line := range strings.Lines(arguments) {
			name, _, _ := strings.Cut(line, "=")
			given++
			if !slices.ContainsFunc(declared, func(m []string) bool { return m[1] == name }) {
				t.Errorf("the Dockerfile has no ARG %s", name)
			}
		}
		run, _ := step["run"].(string)
		if step["id"] == "base" { // the tag that it asks the registry for
			line, _, _ := strings.Cut(run, "\n")
			tag := command(t, "bash", "-euc", "cd ../..; "+line+`; printf %s "$tag"`)
			if !regexp.MustCompile(`^golang:\d+\.\d+-\w+$`).MatchString(tag) {
				t.Errorf("the image that builds is %q", tag)
			}
		}
	}
	if given != 3 {
		t.Errorf("%d arguments are given", given)
	}
}
