package rollout

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/cloakwork/cloakwork/schema"
)

// window tells whether a maintenance window is open, and else when the next one opens; zero where none ever does. Without
// windows it is always open. Schedules are in UTC, unless they name a zone by CRON_TZ=.
func window(windows []schema.Window, now time.Time) (open bool, next time.Time) {
	if len(windows) == 0 {
		return true, time.Time{}
	}
	for _, w := range windows {
		schedule, err := cron.ParseStandard(w.Schedule)
		if err != nil {
			panic(err) // the schema has checked it
		}
		if began := schedule.Next(now.Add(-time.Duration(w.Duration))); !began.IsZero() && !began.After(now) {
			return true, time.Time{}
		}
		if opens := schedule.Next(now); next.IsZero() || !opens.IsZero() && opens.Before(next) {
			next = opens
		}
	}
	return false, next
}

// when names the time that a window opens.
func when(next time.Time) string {
	if next.IsZero() {
		return "which never opens"
	}
	return "on " + next.UTC().Format("2 Jan 15:04") + " UTC"
}

// older tells whether a version comes before another; unknown ones don't.
func older(a, b string) bool {
	if a == "" || b == "" {
		return false
	}
	return slices.CompareFunc(strings.Split(a, "."), strings.Split(b, "."), func(a, b string) int {
		m, _ := strconv.Atoi(a)
		n, _ := strconv.Atoi(b)
		return m - n
	}) < 0
}
