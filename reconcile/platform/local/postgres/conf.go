package postgres

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
)

// postgresql.conf is the same for every server and never changes, but that a fence takes it away; what does change is in
// the files that it includes, each written by one act. Of a setting that is in several, the last counts.
const mainConf = `# Written by cloakwork. Changes by hand are undone.
include_if_exists = 'settings.conf'
include_if_exists = 'standbys.conf'
include_if_exists = 'upstream.conf'
`

// hba lets each role in where it has to go, by its password, and nobody else.
const hba = `# Written by cloakwork. Changes by hand are undone.
local keycloak    keycloak  scram-sha-256
local replication standby   scram-sha-256
local postgres    standby   scram-sha-256
local all         cloakwork scram-sha-256
`

// ident gives nobody another name.
const ident = "# Written by cloakwork. Changes by hand are undone.\n"

// configureAll writes what isn't there or isn't ours of the files that never change.
func (s Server) configureAll() error {
	if _, err := s.configure("pg_hba.conf", hba); err != nil {
		return err
	}
	if _, err := s.configure("pg_ident.conf", ident); err != nil {
		return err
	}
	if _, err := os.Stat(s.path("conf", "settings.conf")); errors.Is(err, fs.ErrNotExist) {
		if _, err := s.configure("settings.conf", conf(Wanted(nil))); err != nil {
			return err
		}
	}
	if s.Fenced() {
		return nil
	}
	_, err := s.configure("postgresql.conf", mainConf)
	return err
}

// Settings are PostgreSQL's, by name, each as pg_settings shows it: a number in the setting's own unit, on or off.
type Settings map[string]string

// always are the settings that what we promise rests on. They count whatever else is wanted.
var always = Settings{
	"wal_level": "replica", "wal_log_hints": "on", "hot_standby": "on", "hot_standby_feedback": "on", "max_wal_senders": "10", "max_replication_slots": "10",
	"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "password_encryption": "scram-sha-256",
	"wal_sender_timeout": "10000", "wal_receiver_timeout": "10000", // ms; a region that is cut off is found out by these
	"max_slot_wal_keep_size": "8192", // MB; a standby that is further behind is copied anew, so that it can't fill the disk
	"archive_mode":           "off", "shared_preload_libraries": "", "session_preload_libraries": "", "local_preload_libraries": "",
	"logging_collector": "off", "log_destination": "stderr", "log_statement": "none", "log_line_prefix": "%m [%p] %q%u@%d ",
	"log_timezone": "UTC", "ssl": "off",
}

// Wanted are all settings of a server of which these are declared.
func Wanted(declared Settings) Settings {
	all := Settings{}
	maps.Copy(all, declared)
	maps.Copy(all, always)
	return all
}

// conf is a file that sets them.
func conf(all Settings) string {
	var b strings.Builder
	b.WriteString("# Written by cloakwork. Changes by hand are undone.\n")
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "%s = %s\n", name, quote(all[name]))
	}
	return b.String()
}

// quote makes a value of a configuration file, and unquote what it is of.
func quote(value string) string {
	return "'" + strings.NewReplacer("'", "''", `\`, `\\`).Replace(value) + "'"
}

func unquote(value string) string {
	return strings.NewReplacer("''", "'", `\\`, `\`).Replace(strings.TrimSuffix(strings.TrimPrefix(value, "'"), "'"))
}
