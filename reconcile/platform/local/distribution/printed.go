package distribution

import (
	"regexp"
	"slices"
	"strings"
)

// LastLines are the end of what Keycloak printed, without the hidden values, and without what only says that it isn't ready yet.
func LastLines(printed string, hidden []string) string {
	const most = 40
	lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(printed), "\n"), func(line string) bool {
		return strings.Contains(line, "SRHCK01001") || strings.HasPrefix(line, "[picocli WARN]")
	})
	return conceal(strings.Join(lines[max(0, len(lines)-most):], "\n"), hidden)
}

// Cause is the one line in what Keycloak printed that says why it ended: the innermost exception that is thrown in code of
// somebody else, with where that is; or else what it says itself; "" where nothing is found.
func Cause(printed string, hidden []string) string {
	var cause, thrown, said string
	theirs := false // the cause was thrown in an extension
	lines := strings.Split(printed, "\n")
	for i, line := range lines {
		switch exception, ok := strings.CutPrefix(strings.TrimSpace(line), "Caused by: "); {
		case ok:
			at := ""
			if i+1 < len(lines) {
				at, _ = strings.CutPrefix(strings.TrimSpace(lines[i+1]), "at ")
			}
			if others := at != "" && !own.MatchString(at); others || !theirs {
				cause, theirs = exception+" at "+at, others
			}
		case strings.HasPrefix(line, "ERROR: "):
			if text := line[len("ERROR: "):]; !strings.HasPrefix(text, "Failed to start") {
				thrown = text
			}
		case said == "" && strings.TrimSpace(line) != "" && !chatter.MatchString(line):
			said = line
		}
	}
	for _, why := range []string{cause, thrown, said} {
		if why != "" {
			return conceal(why, hidden)
		}
	}
	return ""
}

var (
	own     = regexp.MustCompile(`^([\w.]+/)?(java|javax|jdk|sun|io\.quarkus|io\.smallrye|org\.keycloak\.quarkus)\.`)
	chatter = regexp.MustCompile(`^(\d{4}-\d\d-\d\d |WARNING|Warning|INFO|\[picocli|Updating the configuration|Changes detected|\s)`)
)

func conceal(text string, hidden []string) string {
	for _, secret := range hidden {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "…")
		}
	}
	return text
}
