package main

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestThePageOfKindsIsAsGenerated(t *testing.T) {
	want, err := kindsPage()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../docs/kinds.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("write it anew by: go run ./cmd/cloakwork docs kinds > docs/kinds.md\n%s", diff)
	}
}
