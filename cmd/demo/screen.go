package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/term"
)

// screen is where the story is told: titles, sentences, commands, what they print, and what is waited for.
type screen struct {
	terminal, colours bool

	mu     sync.Mutex
	out    io.Writer
	doing  string // what is waited for
	shown  bool   // whether a line says so at present
	number int    // of the last step
}

func newScreen(f *os.File) *screen {
	terminal := term.IsTerminal(f.Fd()) && os.Getenv("TERM") != "dumb"
	return &screen{out: f, terminal: terminal, colours: terminal && os.Getenv("NO_COLOR") == ""}
}

// step begins the next part of the story.
func (s *screen) step(title string) {
	s.number++
	s.title(fmt.Sprintf("%d. %s", s.number, title))
}

func (s *screen) title(text string) { s.print("\n" + s.paint("1", text) + "\n") }

// say is a sentence of the narrator's.
func (s *screen) say(format string, args ...any) { s.print(fmt.Sprintf(format, args...) + "\n") }

// command is what somebody would type.
func (s *screen) command(line string) { s.print("  " + s.paint("36", "$ "+line) + "\n") }

// request is what somebody would send by another program.
func (s *screen) request(line string) { s.print("  " + s.paint("36", "> "+line) + "\n") }

// output is what a program printed.
func (s *screen) output(text string) {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimRight(text, "\n ")) {
		b.WriteString("    " + strings.TrimRight(line, "\n") + "\n")
	}
	s.print(b.String())
}

func (s *screen) fail(err error) { s.print(s.paint("31", "error: "+err.Error()) + "\n") }

// ended says why the story ends before its end.
func (s *screen) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		s.say("Interrupted.")
		return ctx.Err()
	}
	s.fail(err)
	return err
}

func (s *screen) paint(code, text string) string {
	if !s.colours {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *screen) print(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	io.WriteString(s.out, text)
}

func (s *screen) clear() {
	if s.shown {
		io.WriteString(s.out, "\r\x1b[K")
		s.shown = false
	}
}

// Write changes what is waited for: servers that start tell their steps in lines.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	s.doing = string(bytes.TrimSpace(p))
	s.mu.Unlock()
	if !s.terminal {
		s.print("  (" + string(bytes.TrimSpace(p)) + ")\n")
	}
	return len(p), nil
}

// during says what is waited for, until the func is called that it returns: on a terminal in one line that counts the
// seconds, elsewhere in a line every half minute.
func (s *screen) during(what string) (done func()) {
	s.mu.Lock()
	s.doing = what
	s.mu.Unlock()
	every := 30 * time.Second
	if s.terminal {
		every = 200 * time.Millisecond
	}
	stop, stopped, began := make(chan struct{}), make(chan struct{}), time.Now()
	go func() {
		defer close(stopped)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				s.wait(time.Since(began))
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
		s.print("")
	}
}

func (s *screen) wait(passed time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := fmt.Sprintf("  (%s, %d s)", s.doing, int(passed.Seconds()))
	if !s.terminal {
		io.WriteString(s.out, line+"\n")
		return
	}
	s.clear()
	io.WriteString(s.out, line)
	s.shown = true
}
