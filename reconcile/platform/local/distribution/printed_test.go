package distribution

import (
	"strings"
	"testing"
)

// All of it was printed by Keycloak 26.4.7 or 26.7.3, but for the names.
func TestTheCauseIsTheLineThatSaysWhy(t *testing.T) {
	const thrown = `WARNING: With HTTPS not enabled, hush
ERROR: Failed to start server in (production) mode
Error details:
java.lang.RuntimeException: Failed to start quarkus
	at io.quarkus.runner.ApplicationImpl.<clinit>(Unknown Source)
Caused by: java.lang.NoClassDefFoundError: dep/Dep
	at acme.Needy.init(Needy.java:10)
	at org.keycloak.quarkus.runtime.integration.QuarkusKeycloakSessionFactory.<init>(QuarkusKeycloakSessionFactory.java:58)
	... 25 more
Caused by: java.lang.ClassNotFoundException: dep.Dep
	at java.base/jdk.internal.loader.BuiltinClassLoader.loadClass(BuiltinClassLoader.java:641)
	... 30 more`
	for _, c := range []struct{ name, printed, want string }{
		{"thrown in an extension", thrown, "java.lang.NoClassDefFoundError: dep/Dep at acme.Needy.init(Needy.java:10)"},
		{"thrown elsewhere", strings.Replace(thrown, "acme.Needy", "org.keycloak.quarkus.Needy", 1),
			"java.lang.ClassNotFoundException: dep.Dep at java.base/jdk.internal.loader.BuiltinClassLoader.loadClass(BuiltinClassLoader.java:641)"},
		{"said", "ERROR: Failed to start server in (production) mode\nERROR: Invalid log category format: hush.", "Invalid log category format: …."},
		{"an option", "[picocli WARN] Could not format\nWarning! This command is 'PREVIEW'\n\nUnknown option: '--log-lvl'\nPossible solutions: --log", "Unknown option: '--log-lvl'"},
		{"nothing", "2026-11-23 12:43:34,123 INFO  [io.quarkus] started\n", ""},
	} {
		if got := Cause(c.printed, []string{"hush", ""}); got != c.want {
			t.Errorf("%s: the cause is %q", c.name, got)
		}
	}
	noise := strings.Repeat("2026-11-23 12:19:39,796 INFO  [io.smallrye.health] (x) SRHCK01001: Reporting health down status\n", 100)
	if got, want := LastLines("one hush\n"+noise+"two\n", []string{"hush"}), "one …\ntwo"; got != want {
		t.Errorf("the last lines are %q", got)
	}
	if got := strings.Count(LastLines(strings.Repeat("x\n", 100), nil), "x"); got != 40 {
		t.Errorf("there are %d last lines", got)
	}
}
