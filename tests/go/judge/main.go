// Command judge hands what this project writes to implementations that are not its own: filippo.io/torchwood (checkpoints, tiles, entry
// bundles, tlog-proofs) and golang.org/x/mod/sumdb (notes, trees). It decides nothing itself.
//
//	judge log URL|DIR VKEY           every entry under the checkpoint; prints the tree size
//	judge proof FILE VKEY            a receipt: its entry is under its checkpoint; prints the entry
//	judge leaf FILE ENTRY VKEY       a proof of an evidence pack: the entry in file ENTRY is under its checkpoint
//	judge consistency OLD FILE VKEY  the checkpoint OLD is a prefix of the one in FILE, body of a tlog-witness request
//	judge cosigned FILE VKEY WITNESS...  the checkpoint or receipt in FILE is signed by the log, and cosigned by each of these witnesses,
//	                                 by torchwood (Ed25519) and transparency-dev/formats (both types); prints each one's time
//
// Ends with 1 where the judgement is no, 2 where it could not be asked.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"filippo.io/torchwood"
	formats "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	args := os.Args[1:]
	var err error
	switch {
	case len(args) == 3 && args[0] == "log":
		err = log(args[1], args[2])
	case len(args) == 3 && args[0] == "proof":
		err = proof(args[1], args[2])
	case len(args) == 4 && args[0] == "leaf":
		err = leaf(args[1], args[2], args[3])
	case len(args) == 4 && args[0] == "consistency":
		err = consistency(args[1], args[2], args[3])
	case len(args) >= 4 && args[0] == "cosigned":
		err = cosigned(args[1], args[2], args[3:])
	default:
		fmt.Fprintln(os.Stderr, "judge: see the head of tests/go/judge/main.go")
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "judge:", err)
		os.Exit(1)
	}
}

// policy asks for a signature of the log's own key on a checkpoint of the log that the key names.
func policy(vkey string) (torchwood.Policy, error) {
	verifier, err := note.NewVerifier(strings.TrimSpace(vkey))
	if err != nil {
		return nil, err
	}
	own := torchwood.SingleVerifierPolicy(verifier)
	return torchwood.ThresholdPolicy(2, torchwood.OriginPolicy(verifier.Name()), own), nil
}

type reader interface {
	torchwood.TileReader
	ReadEndpoint(ctx context.Context, path string) ([]byte, error)
}

func open(place string) (reader, error) {
	if strings.HasPrefix(place, "http") {
		return torchwood.NewTileFetcher(place)
	}
	return torchwood.NewTileFS(os.DirFS(place))
}

func log(place, vkey string) error {
	ctx := context.Background()
	trusted, err := policy(vkey)
	if err != nil {
		return err
	}
	tiles, err := open(place)
	if err != nil {
		return err
	}
	signed, err := tiles.ReadEndpoint(ctx, "checkpoint")
	if err != nil {
		return err
	}
	checkpoint, _, err := torchwood.VerifyCheckpoint(signed, trusted)
	if err != nil {
		return err
	}
	client, err := torchwood.NewClient(tiles)
	if err != nil {
		return err
	}
	next := int64(0)
	for index := range client.AllEntries(ctx, checkpoint.Tree, 0) {
		if index != next {
			return fmt.Errorf("entry %d after %d entries", index, next)
		}
		next++
	}
	if err := client.Err(); err != nil {
		return err
	}
	if next != checkpoint.N {
		return fmt.Errorf("%d entries under a checkpoint of %d", next, checkpoint.N)
	}
	fmt.Println(next)
	return nil
}

func proof(file, vkey string) error {
	trusted, err := policy(vkey)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	extra, err := torchwood.ProofExtraData(text)
	if err != nil {
		return err
	}
	var receipt struct{ Entry []byte }
	if err := json.Unmarshal(extra, &receipt); err != nil {
		return err
	}
	if err := torchwood.VerifyProof(trusted, tlog.RecordHash(receipt.Entry), text); err != nil {
		return err
	}
	fmt.Println(string(receipt.Entry))
	return nil
}

func leaf(file, entry, vkey string) error {
	trusted, err := policy(vkey)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	bytes, err := os.ReadFile(entry)
	if err != nil {
		return err
	}
	return torchwood.VerifyProof(trusted, tlog.RecordHash(bytes), text)
}

func consistency(old, file, vkey string) error {
	trusted, err := policy(vkey)
	if err != nil {
		return err
	}
	signed, err := os.ReadFile(old)
	if err != nil {
		return err
	}
	known, _, err := torchwood.VerifyCheckpoint(signed, trusted)
	if err != nil {
		return err
	}
	body, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	head, newer, found := strings.Cut(string(body), "\n\n")
	if !found {
		return fmt.Errorf("%s: no empty line", file)
	}
	checkpoint, _, err := torchwood.VerifyCheckpoint([]byte(newer), trusted)
	if err != nil {
		return err
	}
	lines := strings.Split(head, "\n")
	if lines[0] != fmt.Sprintf("old %d", known.N) {
		return fmt.Errorf("%s is about %q, the checkpoint has %d entries", file, lines[0], known.N)
	}
	var path tlog.TreeProof
	for _, line := range lines[1:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return err
		}
		path = append(path, hash)
	}
	return tlog.CheckTree(path, checkpoint.N, checkpoint.Hash, known.N, known.Hash)
}

func cosigned(file, vkey string, witnesses []string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	// Of a tlog-proof the checkpoint is what follows the first empty line.
	if strings.HasPrefix(string(text), "c2sp.org/tlog-proof@") {
		_, checkpoint, _ := strings.Cut(string(text), "\n\n")
		text = []byte(checkpoint)
	}
	own, err := note.NewVerifier(strings.TrimSpace(vkey))
	if err != nil {
		return err
	}
	for _, witness := range witnesses {
		verifiers := []note.Verifier{}
		verifier, err := formats.NewVerifierForCosignatureV1(witness)
		if err != nil {
			return fmt.Errorf("formats: %w", err)
		}
		verifiers = append(verifiers, verifier)
		// torchwood 0.9.0 knows Ed25519 alone.
		if verifier, err := torchwood.NewCosignatureVerifier(witness); err == nil {
			verifiers = append(verifiers, verifier)
		}
		for _, verifier := range verifiers {
			opened, err := note.Open(text, note.VerifierList(own, verifier))
			if err != nil {
				return err
			}
			if len(opened.Sigs) != 2 {
				return fmt.Errorf("%d of log and %s have signed", len(opened.Sigs), verifier.Name())
			}
			for _, sig := range opened.Sigs {
				if sig.Hash != verifier.KeyHash() {
					continue
				}
				seconds, err := torchwood.CosignatureTimestamp(sig)
				if err != nil {
					return err
				}
				fmt.Printf("%s %d\n", sig.Name, seconds)
			}
		}
	}
	return nil
}
