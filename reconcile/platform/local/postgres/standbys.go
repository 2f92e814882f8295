package postgres

import "strings"

// syncNames are the regions in a value of synchronous_standby_names that we wrote, FIRST 1 ("milan").
func syncNames(value string) (names []string) {
	for i, part := range strings.Split(value, `"`) {
		if i%2 == 1 {
			names = append(names, part)
		}
	}
	if value != "" && len(names) == 0 {
		names = []string{value} // by somebody else's hand
	}
	return names
}
