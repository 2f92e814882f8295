package realm

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExecutionsKeepTheirPriorityWhereTheyCan(t *testing.T) {
	for _, test := range []struct {
		order []string
		have  map[string]int
		want  map[string]int
	}{
		{[]string{"a", "b"}, nil, map[string]int{"a": 10, "b": 20}},
		{[]string{"a", "b"}, map[string]int{"a": 3, "b": 7}, map[string]int{"a": 3, "b": 7}},
		{[]string{"a", "new", "b"}, map[string]int{"a": 10, "b": 20}, map[string]int{"a": 10, "new": 15, "b": 20}},
		{[]string{"new", "a"}, map[string]int{"a": 10}, map[string]int{"new": 5, "a": 10}},
		{[]string{"a", "new"}, map[string]int{"a": 26}, map[string]int{"a": 26, "new": 36}},
		{[]string{"c", "a", "b"}, map[string]int{"a": 10, "b": 20, "c": 30}, map[string]int{"c": 5, "a": 10, "b": 20}},
		{[]string{"b", "c", "a"}, map[string]int{"a": 10, "b": 20, "c": 30}, map[string]int{"b": 20, "c": 30, "a": 40}},
		{[]string{"new", "a", "b"}, map[string]int{"a": 0, "b": 1}, map[string]int{"new": 10, "a": 20, "b": 30}},
		{[]string{"a", "b"}, map[string]int{"a": 0, "b": 0}, map[string]int{"a": 0, "b": 10}},
	} {
		if diff := cmp.Diff(test.want, placed(test.order, test.have)); diff != "" {
			t.Errorf("%v from %v (-want +got):\n%s", test.order, test.have, diff)
		}
	}
}
