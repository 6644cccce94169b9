// Checks that a statement is in the log, and that a quorum of institutions vouches for it,
// with the Go project's own transparency log code (golang.org/x/mod/sumdb) and nothing of Stretto's.
//
// Usage: go run verify.go POLICY PROOF.tlog-proof STATEMENT
//
// POLICY says whom you believe. Take it from somebody you trust, not only from the archive beside this file.
package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A cosigner verifies timestamped cosignatures (c2sp.org/tlog-cosignature, type 0x04), which x/mod does not know.
type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (c cosigner) Name() string    { return c.name }
func (c cosigner) KeyHash() uint32 { return c.hash }
func (c cosigner) Verify(text, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	signed := fmt.Sprintf("cosignature/v1\ntime %d\n%s", binary.BigEndian.Uint64(sig), text)
	return ed25519.Verify(c.key, []byte(signed), sig[8:])
}

func newCosigner(vkey string) (note.Verifier, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("malformed cosigner key")
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 1+ed25519.PublicKeySize || key[0] != 0x04 {
		return nil, errors.New("malformed cosigner key")
	}
	id := sha256.Sum256(append([]byte(parts[0]+"\n"), key...))
	if hex.EncodeToString(id[:4]) != parts[1] {
		return nil, errors.New("cosigner key does not have the ID it names")
	}
	return cosigner{parts[0], binary.BigEndian.Uint32(id[:4]), key[1:]}, nil
}

// A policy is one group of cosigners with a threshold: what a Stretto consortium's genesis determines.
type policy struct {
	known     []note.Verifier
	witnesses map[string]string // name of the key -> name of the institution
	group     string
	threshold int
}

func parsePolicy(text string) (*policy, error) {
	p := &policy{witnesses: make(map[string]string)}
	for _, line := range strings.Split(text, "\n") {
		f := strings.Fields(line)
		switch {
		case len(f) == 0 || strings.HasPrefix(f[0], "#"):
		case f[0] == "log" && len(f) >= 2:
			v, err := note.NewVerifier(f[1])
			if err != nil {
				return nil, err
			}
			p.known = append(p.known, v)
		case f[0] == "witness" && len(f) >= 3:
			v, err := newCosigner(f[2])
			if err != nil {
				return nil, err
			}
			p.known = append(p.known, v)
			p.witnesses[v.Name()] = f[1]
		case f[0] == "group" && len(f) >= 4 && p.group == "":
			k, err := strconv.Atoi(f[2])
			if err != nil || k < 1 || len(f)-3 != len(p.witnesses) {
				return nil, errors.New("this program knows policies of one group of all witnesses only")
			}
			p.group, p.threshold = f[1], k
		case f[0] == "quorum" && len(f) == 2 && f[1] == p.group && p.group != "":
		default:
			return nil, fmt.Errorf("policy line not understood: %q", line)
		}
	}
	if p.group == "" {
		return nil, errors.New("the policy names no quorum")
	}
	return p, nil
}

func verify(policyText, proofText string, statement []byte) error {
	p, err := parsePolicy(policyText)
	if err != nil {
		return err
	}
	head, checkpoint, ok := strings.Cut(proofText, "\n\n")
	lines := strings.Split(head, "\n")
	if !ok || len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return errors.New("not a c2sp.org/tlog-proof@v1")
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
	if err != nil {
		return err
	}
	var path tlog.RecordProof
	for _, line := range lines[2:] {
		h, err := tlog.ParseHash(line)
		if err != nil {
			return err
		}
		path = append(path, h)
	}

	n, err := note.Open([]byte(checkpoint), note.VerifierList(p.known...))
	if err != nil {
		return err
	}
	body := strings.Split(n.Text, "\n")
	if len(body) != 4 {
		return errors.New("not a checkpoint")
	}
	logs, cosigners := 0, make(map[string]bool)
	for _, sig := range n.Sigs {
		if sig.Name == body[0] {
			logs++
		} else if member, ok := p.witnesses[sig.Name]; ok {
			cosigners[member] = true
		}
	}
	if logs == 0 || len(cosigners) < p.threshold {
		return fmt.Errorf("%d log signatures and %d cosigners, want 1 and %d", logs, len(cosigners), p.threshold)
	}

	size, err := strconv.ParseInt(body[1], 10, 64)
	if err != nil {
		return err
	}
	root, err := tlog.ParseHash(body[2])
	if err != nil {
		return err
	}
	entry := sha256.Sum256(statement) // the log's entry is the digest of the statement
	if err := tlog.CheckRecord(path, size, root, index, tlog.RecordHash(entry[:])); err != nil {
		return err
	}
	fmt.Printf("the statement is entry %d of %d in the log %s\n", index, size, body[0])
	fmt.Printf("vouched for by %d institutions (%d needed):", len(cosigners), p.threshold)
	for _, v := range p.known {
		if member, ok := p.witnesses[v.Name()]; ok && cosigners[member] {
			fmt.Printf(" %s", member)
		}
	}
	fmt.Println()
	return nil
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: go run verify.go POLICY PROOF.tlog-proof STATEMENT")
		os.Exit(2)
	}
	var files [3][]byte
	for i, name := range os.Args[1:] {
		data, err := os.ReadFile(name)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		files[i] = data
	}
	if err := verify(string(files[0]), string(files[1]), files[2]); err != nil {
		fmt.Fprintln(os.Stderr, "REFUSED:", err)
		os.Exit(1)
	}
}
