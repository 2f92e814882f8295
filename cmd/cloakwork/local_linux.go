package main

import (
	"path/filepath"
	"strings"

	"github.com/cloakwork/cloakwork/reconcile/platform/local"
	"github.com/cloakwork/cloakwork/schema"
)

// openLocal opens platform local.
func openLocal(p *platforms) (host, error) {
	settings := p.settings.Local
	driver, err := local.Open(localFolder(settings.Folder, p.state), local.Options{
		Log: p.log, User: settings.User, Source: distributions(settings.Distributions), Collector: p.collector})
	if err != nil {
		return host{}, err
	}
	return host{Driver: driver, Fits: local.Fits, Admin: driver.Connection, Dumps: driver, Close: driver.Close}, nil
}

// distributions is where the archives of Keycloak come from, with {version} in it; "" is Maven's own repository.
func distributions(from schema.Distributions) string {
	if from.Maven != "" {
		return strings.TrimSuffix(from.Maven, "/") + "/org/keycloak/keycloak-quarkus-dist/{version}/keycloak-quarkus-dist-{version}.tar.gz"
	}
	if from.Folder != "" {
		archives := filepath.Join(from.Folder, "keycloak-{version}.tar.gz")
		if found, _ := filepath.Glob(strings.Replace(archives, "{version}", "*", 1)); len(found) > 0 { // the pattern is ours
			return archives
		}
		return filepath.Join(from.Folder, "keycloak-{version}")
	}
	return from.URL
}
