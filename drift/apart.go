package drift

import "maps"

// Apart takes an update or rename in two where the server moved some of the fields by itself: asked is what the declaration
// asks for, and wants the other fields as they are; moved is the update of these. Ok is false where there is only one of the two.
func (c Change) Apart() (asked, moved Change, ok bool) {
	if c.Op != Update && c.Op != Rename {
		return c, Change{}, false
	}
	asked, moved = c, c
	asked.Diffs, moved.Diffs = nil, nil
	for _, d := range c.Diffs {
		if d.Cause == FromDrift {
			moved.Diffs = append(moved.Diffs, d)
			asked.Want.Fields = with(asked.Want.Fields, d.At, d.Have)
		} else {
			asked.Diffs = append(asked.Diffs, d)
		}
	}
	if len(moved.Diffs) == 0 || c.Op == Update && len(asked.Diffs) == 0 {
		return c, Change{}, false
	}
	if c.Op == Update {
		asked.Cause = combined(asked.Diffs)
	}
	moved.Op, moved.From, moved.Cause = Update, "", FromDrift
	return asked, moved, true
}

// with are fields with one value in place of another, or without it where it is nil; what held only that goes too.
func with(fields map[string]any, at []string, v any) map[string]any {
	fields = maps.Clone(fields)
	if fields == nil {
		fields = map[string]any{}
	}
	if len(at) > 1 {
		nested, _ := fields[at[0]].(map[string]any)
		if below := with(nested, at[1:], v); len(below) > 0 {
			v = below
		} else {
			v = nil
		}
	}
	if fields[at[0]] = v; v == nil {
		delete(fields, at[0])
	}
	return fields
}
