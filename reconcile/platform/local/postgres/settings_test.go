package postgres

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSettingsChangedByHandShowAndAreCorrected(t *testing.T) {
	t.Parallel() // it mostly waits for the disk
	s, stop := primary(t, "paris")
	ctx := t.Context()
	declared := Settings{"max_connections": "40", "work_mem": "8192"}
	want := Object("paris", declared).Fields
	same := func(when string, want map[string]any) {
		t.Helper()
		have, err := s.Have(ctx, declared)
		must(t, err)
		if diff := cmp.Diff(want, have.Fields); diff != "" {
			t.Errorf("%s (-want +have):\n%s", when, diff)
		}
	}
	with := func(changes map[string]any) map[string]any {
		all := map[string]any{}
		for _, m := range []map[string]any{want, changes} {
			for name, v := range m {
				all[name] = v
			}
		}
		return all
	}
	configure := func(want string) {
		t.Helper()
		restart, err := s.Configure(ctx, declared)
		must(t, err)
		if got := strings.Join(restart, " "); got != want {
			t.Errorf("for a restart wait %q, want %q", got, want)
		}
	}
	same("before they are declared", with(map[string]any{"max_connections": "100", "work_mem": "4096"}))
	configure("max_connections")
	same("declared, one waits for a restart", want)
	if seen, err := s.Look(ctx); err != nil || !slices.Equal(seen.Restart, []string{"max_connections"}) {
		t.Errorf("it waits for a restart: %v, %v", seen.Restart, err)
	}
	stop()
	same("down", want)
	started(t, s)
	configure("")
	if got := query[string](t, s, "postgres", "SHOW max_connections"); got != "40" {
		t.Errorf("restarted, it lets %s in", got)
	}

	do(t, s, "postgres", "ALTER SYSTEM SET synchronous_commit = off", "SELECT pg_reload_conf()", "ALTER SYSTEM SET fsync = off") // the last isn't in force yet
	same("altered", with(map[string]any{"fsync": "off", "synchronous_commit": "off"}))
	configure("")
	same("corrected", want)

	b, err := os.ReadFile(s.path("conf", "settings.conf"))
	must(t, err)
	must(t, os.WriteFile(s.path("conf", "settings.conf"), append(b, "work_mem = '1MB' # more of it\nnonsense\n"...), 0o600))
	must(t, os.WriteFile(s.path("conf", "pg_hba.conf"), []byte("local all all trust\n"), 0o600))
	same("files changed", with(map[string]any{"work_mem": "1MB", "files": "changed by hand: pg_hba.conf, settings.conf"}))
	configure("")
	same("written again", want)
	must(t, os.Remove(s.path("conf", "settings.conf")))
	same("a file gone", with(map[string]any{"files": "changed by hand: settings.conf", "work_mem": "4096", "max_connections": "100", "wal_log_hints": "off", "hot_standby_feedback": "off",
		"max_slot_wal_keep_size": "-1", "wal_receiver_timeout": "60000", "wal_sender_timeout": "60000", "log_line_prefix": "%m [%p] ", "log_timezone": "GMT"}))
	configure("")
	same("written anew", want)

	for name, bad := range map[string]Settings{"work_mem": {"work_mem": "plenty"}, "no_such_thing": {"no_such_thing": "on"}} {
		if _, err := s.Configure(ctx, bad); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v is taken: %v", bad, err)
		}
	}
	same("after settings that can't be", want)
}
