package distribution

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheFirstJavaThatIsNewEnoughRuns(t *testing.T) {
	var homes []string
	for name, release := range map[string]string{"a": `JAVA_VERSION="11.0.2"`, "b": `JAVA_VERSION="17.0.15"`, "c": `JAVA_VERSION="25"`, "d": ""} {
		home := filepath.Join(t.TempDir(), name)
		write(t, filepath.Join(home, "release"), []byte("IMPLEMENTOR=\"x\"\n"+release+"\n"))
		if name != "c" {
			write(t, filepath.Join(home, "bin", "java"), nil)
		}
		homes = append(homes, home)
	}
	if j, err := firstJava(homes, 17); err != nil || j.Major != 17 || filepath.Base(filepath.Dir(filepath.Dir(j.Path))) != "b" {
		t.Errorf("found %v, %v", j, err)
	}
	_, err := firstJava(homes, 21)
	if err == nil || !strings.HasPrefix(err.Error(), "this Keycloak needs Java 21 or newer, and there is none in JAVA_HOME, on the PATH or in /usr/lib/jvm (") || !strings.Contains(err.Error(), "/b is Java 17") {
		t.Errorf("the error is %v", err)
	}
	source, err := Store{Log: t.Output()}.Distribution(t.Context(), Newest)
	if err != nil {
		t.Fatal(err)
	}
	if least, err := leastJava(source); err != nil || least != 17 {
		t.Errorf("Keycloak %s needs Java %d, %v", Newest, least, err)
	}
}

func TestOptionsOfJavaAreThoseOfKcSh(t *testing.T) {
	for _, c := range []struct {
		name            string
		spec            Spec
		holds, holdsnot []string
	}{
		{"nothing said", Spec{}, []string{"-Xms64m", "-Xmx512m", "-XX:+UseG1GC", "-XX:+ExitOnOutOfMemoryError", "--add-opens=java.base/java.util=ALL-UNNAMED", "-Duser.language=en"}, nil},
		{"little memory", Spec{Memory: 512 << 20}, []string{"-Xmx256m", "-XX:+UseSerialGC"}, []string{"-XX:+UseG1GC", "-Xmx512m"}},
		{"much memory", Spec{Memory: 4 << 30}, []string{"-Xmx2867m", "-XX:+UseG1GC"}, nil},
		{"a heap of one's own", Spec{Env: []string{"JAVA_OPTS_KC_HEAP=-XX:MaxRAMPercentage=50"}}, []string{"-XX:MaxRAMPercentage=50"}, []string{"-Xmx512m"}},
		{"all of one's own", Spec{Env: []string{"JAVA_OPTS=-Xmx1g", "JAVA_OPTS_APPEND=-Da=1 -Db='x y'"}}, []string{"-Xmx1g", "-Da=1", "-Db=x y", "-Duser.language=en"}, []string{"-XX:+UseG1GC", "-Xms64m"}},
	} {
		have := "\n" + strings.Join(javaOptions(c.spec), "\n") + "\n"
		for _, want := range c.holds {
			if !strings.Contains(have, "\n"+want+"\n") {
				t.Errorf("%s: without %s: %s", c.name, want, have)
			}
		}
		for _, surplus := range c.holdsnot {
			if strings.Contains(have, "\n"+surplus+"\n") {
				t.Errorf("%s: with %s: %s", c.name, surplus, have)
			}
		}
	}
	if diff := cmp.Diff([]string{"-Da=b c", "", `x"y`, "-e"}, words("  -Da='b c' \"\"\tx\\\"y\n-e ")); diff != "" {
		t.Error(diff)
	}
}

func TestMemoryIsReadAsKubernetesWritesIt(t *testing.T) {
	for text, want := range map[string]int64{"768Mi": 768 << 20, "1.5G": 1_500_000_000, "2Gi": 2 << 30, "800000000": 800_000_000} {
		if got, err := quantity(text); got != want || err != nil {
			t.Errorf("%s is %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "768 Mi", "-1", "1Mb", "lots"} {
		if got, err := quantity(text); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
	if _, err := heap(400 << 20); err == nil || err.Error() != "400 MiB are too few: Keycloak takes 448 MiB at least" {
		t.Errorf("the error is %v", err)
	}
}
