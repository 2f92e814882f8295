package telemetry

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"time"

	logs "go.opentelemetry.io/proto/slim/otlp/logs/v1"
)

// record is one record of a node's log: a line that begins as Keycloak's do, and those that follow until the next such line.
type record struct {
	at       time.Time // zero where the text doesn't say
	severity logs.SeverityNumber
	level    string // as the log has it
	logger   string
	thread   string
	body     string
	trace    string // the stack trace, where the log has it apart
	end      int64  // where the record ends in its file
}

// longest is how long a record may be; what is longer is cut into several.
const longest = 64 << 10

// begins tells whether a line begins a record: with a moment, or as an object of log-console-output=json.
var begins = regexp.MustCompile(`^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} |\{")`)

// split cuts a text, which begins at an offset of its file, into records. The last one is only taken where nothing more of it
// can come.
func split(text []byte, offset int64, complete bool) (records []record) {
	start := 0
	take := func(end int) {
		r := parse(string(text[start:end]))
		r.end = offset + int64(end)
		records = append(records, r)
		start = end
	}
	for at := 0; at < len(text); {
		if at > start && begins.Match(text[at:min(len(text), at+40)]) {
			take(at)
		}
		line := bytes.IndexByte(text[at:], '\n')
		next := at + line + 1
		if line < 0 {
			next = len(text)
		}
		for next-start > longest {
			take(start + longest)
		}
		at = next
	}
	if complete && start < len(text) {
		take(len(text))
	}
	return records
}

// written is Keycloak's own form of a line: 2026-11-23 18:51:02,123 INFO  [org.keycloak.events] (executor-thread-1) text.
var written = regexp.MustCompile(`(?s)^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) +([A-Z]+) +\[([^\]]*)\] \((.*?)\) (.*)$`)

// parse reads what a record says of itself. What has another form is a body without more.
func parse(text string) record {
	text = strings.ToValidUTF8(strings.TrimRight(text, "\r\n"), "�")
	if m := written.FindStringSubmatch(text); m != nil {
		at, err := time.ParseInLocation("2006-01-02 15:04:05,000", m[1], time.Local)
		if err == nil {
			return record{at: at, severity: severities[m[2]], level: m[2], logger: m[3], thread: m[4], body: m[5]}
		}
	}
	var object struct {
		Timestamp, Level, LoggerName, ThreadName, Message, StackTrace string
	}
	if strings.HasPrefix(text, "{") && json.Unmarshal([]byte(text), &object) == nil && object.Level != "" {
		at, _ := time.Parse(time.RFC3339Nano, object.Timestamp) // else it has none
		return record{at: at, severity: severities[object.Level], level: object.Level, logger: object.LoggerName, thread: object.ThreadName,
			body: object.Message, trace: object.StackTrace}
	}
	return record{body: text}
}

// severities are the levels of JBoss Logging and java.util.logging.
var severities = map[string]logs.SeverityNumber{
	"TRACE": logs.SeverityNumber_SEVERITY_NUMBER_TRACE, "FINEST": logs.SeverityNumber_SEVERITY_NUMBER_TRACE, "FINER": logs.SeverityNumber_SEVERITY_NUMBER_TRACE,
	"DEBUG": logs.SeverityNumber_SEVERITY_NUMBER_DEBUG, "FINE": logs.SeverityNumber_SEVERITY_NUMBER_DEBUG, "CONFIG": logs.SeverityNumber_SEVERITY_NUMBER_DEBUG,
	"INFO": logs.SeverityNumber_SEVERITY_NUMBER_INFO,
	"WARN": logs.SeverityNumber_SEVERITY_NUMBER_WARN, "WARNING": logs.SeverityNumber_SEVERITY_NUMBER_WARN,
	"ERROR": logs.SeverityNumber_SEVERITY_NUMBER_ERROR, "SEVERE": logs.SeverityNumber_SEVERITY_NUMBER_ERROR,
	"FATAL": logs.SeverityNumber_SEVERITY_NUMBER_FATAL,
}
