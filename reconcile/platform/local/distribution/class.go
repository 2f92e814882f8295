package distribution

import (
	"archive/zip"
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"strings"
)

// parents are the class that a class extends and the interfaces that it names, read from its file as the Java Virtual
// Machine Specification lays it out (chapter 4).
func parents(f *zip.File) ([]string, error) {
	file, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	in := classReader{Reader: bufio.NewReader(file)}
	in.skip(8) // magic, version
	texts, names := map[uint16]string{}, map[uint16]uint16{}
	count := in.number()
	for i := uint16(1); i < count && in.err == nil; i++ {
		switch tag := in.octet(); tag {
		case 1: // UTF-8
			texts[i] = in.text(int(in.number()))
		case 7: // a class, by the index of its name
			names[i] = in.number()
		case 8, 16, 19, 20:
			in.skip(2)
		case 15:
			in.skip(3)
		case 3, 4, 9, 10, 11, 12, 17, 18:
			in.skip(4)
		case 5, 6: // long and double take two places
			in.skip(8)
			i++
		default:
			return nil, errors.New("its file is damaged")
		}
	}
	in.skip(4) // flags, the class itself
	above := []string{texts[names[in.number()]]}
	for range in.number() {
		above = append(above, texts[names[in.number()]])
	}
	if in.err != nil {
		return nil, errors.New("its file is damaged")
	}
	for i := range above {
		above[i] = strings.ReplaceAll(above[i], "/", ".")
	}
	return above, nil
}

// classReader reads on until something fails; from then on it reads zeroes.
type classReader struct {
	*bufio.Reader
	err error
}

func (r *classReader) bytes(n int) []byte {
	b := make([]byte, n)
	if r.err == nil {
		_, r.err = io.ReadFull(r.Reader, b)
	}
	return b
}

func (r *classReader) octet() byte       { return r.bytes(1)[0] }
func (r *classReader) number() uint16    { return binary.BigEndian.Uint16(r.bytes(2)) }
func (r *classReader) text(n int) string { return string(r.bytes(n)) }
func (r *classReader) skip(n int)        { r.bytes(n) }
