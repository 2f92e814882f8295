package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/cloakwork/cloakwork/reconcile/keycloak/keycloaktest"
)

// The steps of action.yml run here as GitHub's runner would run them: each script by the same bash, with the files that the
// environment names, and what is printed is read for commands.

type actionFile struct {
	Inputs  map[string]struct{ Default string }
	Outputs map[string]struct{ Value string }
	Runs    struct {
		Using string
		Steps []actionStep
	}
}

type actionStep struct {
	ID, Uses, Shell, Run string
	With, Env            map[string]string
}

// job is one job on a runner; its steps see what those before them wrote.
type job struct {
	t         *testing.T
	action    actionFile
	source    string // of the action
	workspace string
	temp      string
	env       []string // of the job

	path, global []string
	outputs      map[string]map[string]string // by step
	log          string                       // as people see it
	raw          string                       // as it was printed
	summary      string
	annotations  []string
	masks        []string
}

func newJob(t *testing.T, workspace, temp string, env ...string) *job {
	t.Helper()
	source, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	j := &job{t: t, source: source, workspace: workspace, temp: temp, env: env, outputs: map[string]map[string]string{}}
	text, err := os.ReadFile(filepath.Join(source, "action.yml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &j.action); err != nil {
		t.Fatal(err)
	}
	if j.action.Runs.Using != "composite" {
		t.Fatalf("the action is %s", j.action.Runs.Using)
	}
	return j
}

var expression = regexp.MustCompile(`\$\{\{\s*(.*?)\s*\}\}`)

// expand evaluates expressions, as far as the action uses any.
func (j *job) expand(s string, inputs map[string]string) string {
	return expression.ReplaceAllStringFunc(s, func(e string) string {
		parts := strings.Split(expression.FindStringSubmatch(e)[1], ".")
		switch {
		case len(parts) == 2 && parts[0] == "inputs":
			declared, ok := j.action.Inputs[parts[1]]
			if !ok {
				j.t.Errorf("%s is not an input", parts[1])
			}
			if v, given := inputs[parts[1]]; given {
				return v
			}
			return declared.Default
		case e == "${{ github.action_path }}":
			return j.source
		case len(parts) == 4 && parts[0] == "steps" && parts[2] == "outputs":
			return j.outputs[parts[1]][parts[3]]
		}
		j.t.Errorf("nobody here can evaluate %s", e)
		return ""
	})
}

// run runs the action, and tells whether its job fails.
func (j *job) run(inputs map[string]string) (outputs map[string]string, failed bool) {
	j.t.Helper()
	for name := range inputs {
		if _, ok := j.action.Inputs[name]; !ok {
			j.t.Errorf("%s is not an input", name)
		}
	}
	for _, step := range j.action.Runs.Steps {
		if step.ID == "" && len(j.path) > 0 {
			continue // a job before has made the program
		}
		switch {
		case strings.HasPrefix(step.Uses, "actions/setup-go@"):
			for _, file := range []string{step.With["go-version-file"], step.With["cache-dependency-path"]} {
				if _, err := os.Stat(j.expand(file, inputs)); err != nil {
					j.t.Error(err)
				}
			}
			continue
		case step.Uses != "":
			j.t.Errorf("nobody here can use %s", step.Uses)
		case step.Shell != "bash":
			j.t.Errorf("a step asks for the shell %q", step.Shell)
		case strings.Contains(step.Run, "${{"):
			j.t.Errorf("an expression stands in a script, where it can break out:\n%s", step.Run)
		}
		if !j.step(step, inputs) {
			failed = true
			break
		}
	}
	outputs = map[string]string{}
	for name, o := range j.action.Outputs {
		outputs[name] = j.expand(o.Value, inputs)
	}
	return outputs, failed
}

func (j *job) step(step actionStep, inputs map[string]string) bool {
	j.t.Helper()
	dir := j.t.TempDir()
	script := filepath.Join(dir, "script.sh")
	if err := os.WriteFile(script, []byte(step.Run), 0o644); err != nil {
		j.t.Fatal(err)
	}
	cmd := exec.Command("bash", "--noprofile", "--norc", "-eo", "pipefail", script)
	cmd.Dir = j.workspace
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(name, "KEYCLOAK_") && !strings.HasPrefix(name, "CLOAKWORK_") && !strings.HasPrefix(name, "GITHUB_") && name != "PATH" {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, j.env...)
	cmd.Env = append(cmd.Env, j.global...)
	files := map[string]string{}
	for _, name := range []string{"GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_PATH", "GITHUB_STEP_SUMMARY"} {
		files[name] = filepath.Join(dir, name)
		if err := os.WriteFile(files[name], nil, 0o644); err != nil {
			j.t.Fatal(err)
		}
		cmd.Env = append(cmd.Env, name+"="+files[name])
	}
	cmd.Env = append(cmd.Env, "GITHUB_ACTIONS=true", "CI=true", "GITHUB_WORKSPACE="+j.workspace, "GITHUB_ACTION_PATH="+j.source, "RUNNER_TEMP="+j.temp,
		"PATH="+strings.Join(append(slices.Clone(j.path), os.Getenv("PATH")), string(os.PathListSeparator)))
	for name, v := range step.Env {
		cmd.Env = append(cmd.Env, name+"="+j.expand(v, inputs))
	}
	out, err := cmd.CombinedOutput()
	j.read(string(out))
	for line := range strings.Lines(content(j.t, files["GITHUB_PATH"])) {
		j.path = append([]string{strings.TrimSpace(line)}, j.path...)
	}
	for line := range strings.Lines(content(j.t, files["GITHUB_ENV"])) {
		j.global = append(j.global, strings.TrimSpace(line))
	}
	j.outputs[step.ID] = map[string]string{}
	for line := range strings.Lines(content(j.t, files["GITHUB_OUTPUT"])) {
		name, v, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok {
			j.t.Errorf("an output is %q", line)
		}
		j.outputs[step.ID][name] = v
	}
	summary := content(j.t, files["GITHUB_STEP_SUMMARY"])
	if len(summary) > 1<<20 {
		j.t.Errorf("the summary has %d bytes", len(summary))
	}
	j.summary += summary
	return err == nil
}

func content(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// read does what the runner does with each line: a command is carried out, unless commands are stopped; all else is shown,
// what is masked blotted out.
func (j *job) read(out string) {
	j.raw += out
	stopped := ""
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\n")
		name, rest, isCommand := strings.Cut(strings.TrimPrefix(line, "::"), "::")
		isCommand = isCommand && strings.HasPrefix(line, "::")
		kind, _, _ := strings.Cut(name, " ")
		switch {
		case stopped != "" && isCommand && name == stopped:
			stopped = ""
		case stopped != "" || !isCommand:
			for _, m := range j.masks {
				line = strings.ReplaceAll(line, m, "***")
			}
			j.log += line + "\n"
		case kind == "stop-commands":
			stopped = rest
		case kind == "add-mask":
			j.masks = append(j.masks, strings.NewReplacer("%25", "%", "%0D", "\r", "%0A", "\n").Replace(rest))
		case kind == "error" || kind == "warning" || kind == "notice":
			j.annotations = append(j.annotations, line)
		default:
			j.t.Errorf("the runner doesn't know %q", line)
		}
	}
}

// hides tells that a secret is in nothing that people see.
func (j *job) hides(secrets ...string) {
	j.t.Helper()
	report := content(j.t, j.outputs["cloakwork"]["report"])
	for _, secret := range secrets {
		for where, text := range map[string]string{"log": j.log, "summary": j.summary, "annotations": strings.Join(j.annotations, "\n"), "report": report} {
			if strings.Contains(text, secret) {
				j.t.Errorf("the %s shows a secret:\n%s", where, text)
			}
		}
		if !slices.Contains(j.masks, secret) {
			j.t.Errorf("a secret isn't masked: only %d are", len(j.masks))
		}
	}
}

func TestTheActionDoesOnARunnerWhatItPromises(t *testing.T) {
	server, realm := keycloaktest.For(t), keycloaktest.Realm(t)
	origin, workspace, temp := t.TempDir(), filepath.Join(t.TempDir(), "work"), t.TempDir()
	manifest := "apiVersion: cloakwork.dev/v1alpha1\nkind: Realm\nmetadata: {name: " + realm + "}\nspec:\n  server: eu\n  realm:\n    displayName: \"Acme\\n::error::forged\"\n" +
		"    clients:\n      - clientId: portal\n        description: before\n        secret: $(env:PORTAL_SECRET)\n"
	write := func(root, text string) {
		mkdir(t, filepath.Join(root, "realms"))
		if err := os.WriteFile(filepath.Join(root, "realms", "acme.yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	git := func(args ...string) {
		command(t, "git", append([]string{"-c", "user.name=Ada", "-c", "user.email=ada@acme.example"}, args...)...)
	}
	git("init", "-q", "-b", "main", origin)
	git("-C", origin, "config", "maintenance.auto", "false") // since 2.47 git may be at it still while the test's folder is removed
	for i, description := range []string{"one", "two", "before"} {
		write(origin, strings.Replace(manifest, "before", description, 1))
		git("-C", origin, "add", "-A")
		git("-C", origin, "commit", "-q", "-m", fmt.Sprint("commit ", i))
	}
	git("clone", "-q", "--depth", "1", "file://"+origin, workspace) // as actions/checkout does
	git("-C", workspace, "config", "maintenance.auto", "false")

	const secret = "portal-5ecret-of-the-action"
	inputs := func(command string, more ...string) map[string]string {
		m := map[string]string{"command": command, "path": "realms", "server": server.URL, "user": server.User, "password": server.Password}
		for i := 0; i < len(more); i += 2 {
			m[more[i]] = more[i+1]
		}
		return m
	}
	var path []string
	start := func() *job {
		j := newJob(t, workspace, temp, "PORTAL_SECRET="+secret)
		j.path = path
		return j
	}

	j := start()
	out, failed := j.run(inputs("plan"))
	path = j.path
	if failed || out["changes"] != "2" || out["verdict"] != "pending" {
		t.Errorf("plan: failed %v, outputs %v\n%s", failed, out, j.raw)
	}
	if !strings.Contains(j.summary, "| create | `clients/portal` |") || !strings.Contains(j.log, "+ clients/portal") {
		t.Errorf("plan shows\n%s\nand in the summary\n%s", j.log, j.summary)
	}
	var reports []map[string]any
	if err := json.Unmarshal([]byte(content(t, out["report"])), &reports); err != nil || len(reports) != 1 || reports[0]["verdict"] != "pending" {
		t.Errorf("the report is %v, %v", reports, err)
	}
	for _, a := range j.annotations {
		if strings.Contains(a, "forged") {
			t.Errorf("a manifest's text became a command: %s", a)
		}
	}
	j.hides(secret, server.Password)

	j = start()
	if out, failed = j.run(inputs("apply")); failed || out["verdict"] != "in sync" {
		t.Errorf("apply: failed %v, outputs %v\n%s", failed, out, j.log)
	}
	j.hides(secret, server.Password)
	admin := server.Admin(t)
	client := func() map[string]any {
		return admin.Get("/admin/realms/" + realm + "/clients?clientId=portal").([]any)[0].(map[string]any)
	}
	if got := client(); got["secret"] != secret || got["description"] != "before" {
		t.Errorf("the client is %v", got["description"])
	}

	admin.Edit("/admin/realms/"+realm+"/clients/"+client()["id"].(string), func(o map[string]any) { o["description"] = "by hand" })
	for _, c := range []struct {
		failOnDrift string
		failed      bool
	}{{"false", false}, {"true", true}} {
		j = start()
		out, failed = j.run(inputs("drift", "fail-on-drift", c.failOnDrift))
		if failed != c.failed || out["verdict"] != "drifted" || out["changes"] != "1" {
			t.Errorf("drift with fail-on-drift %s: failed %v, outputs %v\n%s", c.failOnDrift, failed, out, j.log)
		}
		want := "::warning file=realms/acme.yaml,line=10,col=9,title=cloakwork::clients/portal drifted (description)"
		if !slices.Contains(j.annotations, want) {
			t.Errorf("drift notes %q, want %q", j.annotations, want)
		}
	}
	j.hides(secret, server.Password)

	var many strings.Builder
	for i := range 25 {
		fmt.Fprintf(&many, "    wrong%d: 1\n", i)
	}
	write(workspace, manifest+many.String())
	j = start()
	if out, failed = j.run(inputs("validate")); !failed || out["verdict"] != "invalid" {
		t.Errorf("validate: failed %v, outputs %v\n%s", failed, out, j.log)
	}
	if want := "::error file=realms/acme.yaml,line=12,col=5,title=cloakwork::wrong0 is not a field of a realm"; len(j.annotations) != 10 || j.annotations[0] != want {
		t.Errorf("validate notes %q, want 10 of which the first is %q", j.annotations, want)
	}
	if got := strings.Count(j.summary, "is not a field"); got != 25 {
		t.Errorf("the summary has %d problems, want 25", got)
	}
	j = start()
	if out, failed = j.run(inputs("plan")); !failed || out["verdict"] != "blocked" {
		t.Errorf("plan of what has problems: failed %v, outputs %v\n%s", failed, out, j.log)
	}
	write(workspace, manifest)

	for name, c := range map[string]struct {
		inputs map[string]string
		want   string
	}{
		"a command that is a script":    {inputs(`plan"; touch pwned; "`), "is not one; write"},
		"a path that is a script":       {inputs("plan", "path", "$(touch pwned)`touch pwned`;touch pwned"), "there is no such file or folder"},
		"a path that is a command":      {inputs("plan", "path", "x\n::error::forged"), "there is no such file or folder"},
		"an environment that is a flag": {inputs("plan", "environment", "--server=http://evil.example"), "is asked for"},
		"a wish that is none":           {inputs("plan", "fail-on-drift", "perhaps"), `fail-on-drift: "perhaps" is neither`},
		"a wrong password":              {inputs("plan", "password", "wrong-password-1"), "Invalid user credentials"},
		"against for drift":             {inputs("drift", "against", "x"), "against belongs to plan, not to drift"},
	} {
		j = start()
		out, failed := j.run(c.inputs)
		if !failed || out["verdict"] != "failed" && out["verdict"] != "blocked" || len(j.annotations) == 0 || slices.Contains(j.annotations, "::error::forged") {
			t.Errorf("%s: failed %v, outputs %v, %q", name, failed, out, j.annotations)
		}
		said := strings.Join(j.annotations, "\n") + j.log
		if !strings.Contains(strings.ReplaceAll(said, "\nhint: ", "; "), c.want) {
			t.Errorf("%s says\n%s, want %s", name, said, c.want)
		}
		if _, err := os.Stat(filepath.Join(workspace, "pwned")); err == nil {
			t.Fatalf("%s ran", name)
		}
	}
}

func TestTheActionHoldsAnEnvironmentAgainstAnother(t *testing.T) {
	workspace, temp := filepath.Join(t.TempDir(), "work"), t.TempDir()
	if err := os.CopyFS(workspace, os.DirFS("../../examples/layered")); err != nil {
		t.Fatal(err)
	}
	inputs := map[string]string{"environment": "prod", "against": "staging", "fail-on-drift": "true"}
	j := newJob(t, workspace, temp)
	if out, failed := j.run(inputs); failed || out["verdict"] != "in sync" {
		t.Errorf("failed %v, outputs %v\n%s", failed, out, j.log)
	}
	more := "apiVersion: cloakwork.dev/v1alpha1\nkind: Realm\nmetadata: {name: acme}\nspec: {realm: {accessTokenLifespan: 60}}\n"
	if err := os.WriteFile(filepath.Join(workspace, "envs/prod/more.yaml"), []byte(more), 0o644); err != nil {
		t.Fatal(err)
	}
	j = newJob(t, workspace, temp)
	out, failed := j.run(inputs)
	if !failed || out["verdict"] != "differs" || out["changes"] != "1" {
		t.Errorf("failed %v, outputs %v\n%s", failed, out, j.log)
	}
	if want := "::warning file=envs/prod/more.yaml,line=4,col=16,title=cloakwork::realm differs (accessTokenLifespan)"; !slices.Contains(j.annotations, want) {
		t.Errorf("it notes %q, want %q", j.annotations, want)
	}
}
