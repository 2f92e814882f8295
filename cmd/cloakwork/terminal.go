package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/term"

	"github.com/cloakwork/cloakwork/drift"
)

func plain(_, s string) string { return s }

// styles are the colours of what drift.Paint names; terminals show them as their owner likes them.
var styles = map[string]lipgloss.Style{
	string(drift.Create): lipgloss.NewStyle().Foreground(lipgloss.Green),
	string(drift.Update): lipgloss.NewStyle().Foreground(lipgloss.Yellow),
	string(drift.Delete): lipgloss.NewStyle().Foreground(lipgloss.Red),
	string(drift.Rename): lipgloss.NewStyle().Foreground(lipgloss.Cyan),
	"risk":               lipgloss.NewStyle().Foreground(lipgloss.Red).Bold(true),
	"error":              lipgloss.NewStyle().Foreground(lipgloss.Red).Bold(true),
	"hint":               lipgloss.NewStyle().Foreground(lipgloss.Cyan),
	"good":               lipgloss.NewStyle().Foreground(lipgloss.Green),
	"faint":              lipgloss.NewStyle().Faint(true),
}

func coloured(what, s string) string { return styles[what].Render(s) }

// colour turns colours on where a terminal shows them and nobody minds (https://no-color.org).
func (c *cli) colour() {
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return
	}
	if r, ok := c.out.(redacting); ok && isTerminal(r.w) {
		c.paint = coloured
	}
	if isTerminal(c.progress.terminal) {
		c.paintErrs = coloured
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(f.Fd())
}

// progress shows on a terminal that something goes on, once it has taken a second. It stands in front of the terminal,
// so that what is written meanwhile takes the line's place.
type progress struct {
	terminal io.Writer

	mu    sync.Mutex
	shown bool
}

func (p *progress) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	return p.terminal.Write(b)
}

func (p *progress) clear() {
	if p.shown {
		io.WriteString(p.terminal, "\r\x1b[K")
		p.shown = false
	}
}

// during shows what says until the returned func is called.
func (p *progress) during(says func() string) (stop func()) {
	if !isTerminal(p.terminal) || os.Getenv("TERM") == "dumb" {
		return func() {}
	}
	began, done, ended := time.Now(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case now := <-tick.C:
				if now.Sub(began) < time.Second {
					continue
				}
				p.mu.Lock()
				fmt.Fprintf(p.terminal, "\r\x1b[K%s, %d s", drift.Escape(says()), int(now.Sub(began).Seconds()))
				p.shown = true
				p.mu.Unlock()
			}
		}
	}()
	return func() {
		close(done)
		<-ended
		p.mu.Lock()
		defer p.mu.Unlock()
		p.clear()
	}
}
