package schema

import (
	"slices"
	"strings"
	"unicode"
)

// Suggest is the name among those known that a misspelt one probably stands for, "" where none is near.
func Suggest(name string, known []string) string {
	best, nearest := "", 1+min(3, max(1, len(name)/4))
	known = slices.Clone(known)
	slices.Sort(known)
	for _, k := range known {
		if k == name {
			continue
		}
		if distance := misspelling(strings.ToLower(name), strings.ToLower(k)); distance < nearest {
			best, nearest = k, distance
		}
	}
	return best
}

// didYouMean is the hint that goes with a misspelt name, "" where nothing is near.
func didYouMean(name string, known []string) string {
	if k := Suggest(name, known); k != "" {
		return "did you mean " + k + "?"
	}
	return ""
}

// misspelling counts the letters to insert, drop, replace or swap with their neighbour to get from one word to the other.
func misspelling(a, b string) int {
	s, t := []rune(a), []rune(b)
	if d := len(s) - len(t); d > 3 || d < -3 {
		return 4
	}
	rows := make([][]int, len(s)+1)
	for i := range rows {
		rows[i] = make([]int, len(t)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(s); i++ {
		for j := 1; j <= len(t); j++ {
			replaced := rows[i-1][j-1]
			if s[i-1] != t[j-1] {
				replaced++
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, replaced)
			if i > 1 && j > 1 && s[i-1] == t[j-2] && s[i-2] == t[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(s)][len(t)]
}

// one names an object of a kind in a sentence: "a client", "an identity provider".
func one(kind string) string {
	var words strings.Builder
	for _, r := range kind {
		if unicode.IsUpper(r) {
			words.WriteByte(' ')
		}
		words.WriteRune(unicode.ToLower(r))
	}
	noun := words.String()
	if stem, ok := strings.CutSuffix(noun, "ies"); ok {
		noun = stem + "y"
	} else {
		noun = strings.TrimSuffix(noun, "s")
	}
	if strings.ContainsRune("aeio", rune(noun[0])) { // and "a user"
		return "an " + noun
	}
	return "a " + noun
}
