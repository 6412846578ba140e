// Made `note` and `keys` beside it: a checkpoint with an Ed25519 and an ML-DSA-44 cosignature by an implementation that is not
// ours, github.com/transparency-dev/formats v0.1.1 (Apache-2.0), with filippo.io/mldsa, from the seed 00 01 .. 1f.
// Run in a scratch module: go run . > vectors.json
package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"

	"filippo.io/mldsa"
	f_note "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func id(name string, alg byte, pub []byte) string {
	h := sha256.Sum256(append([]byte(name+"\n"+string([]byte{alg})), pub...))
	return fmt.Sprintf("%x", h[:4])
}

func main() {
	body := "ledger.example/acme\n4\nf+7CoKgXKE/tNys9TTXcr/ad6U/K3xvznmzew9y6SP0=\n"
	seed := make([]byte, 32)
	for i := range seed {
		seed[i] = byte(i)
	}
	name := "witness.example/w1"
	// The log.
	lk := ed25519.NewKeyFromSeed(append(append([]byte{}, seed[1:]...), 99))
	lpub := append([]byte{1}, lk.Public().(ed25519.PublicKey)...)
	lname := "ledger.example/acme"
	lskey := "PRIVATE+KEY+" + lname + "+" + id(lname, 1, lpub[1:]) + "+" + base64.StdEncoding.EncodeToString(append([]byte{1}, lk.Seed()...))
	ls, err := note.NewSigner(lskey)
	check(err)
	// Ed25519.
	ek := ed25519.NewKeyFromSeed(seed)
	epub := ek.Public().(ed25519.PublicKey)
	eskey := "PRIVATE+KEY+" + name + "+" + id(name, 1, epub) + "+" + base64.StdEncoding.EncodeToString(append([]byte{1}, ek.Seed()...))
	es, err := f_note.NewSignerForCosignatureV1(eskey)
	check(err)
	evkey := name + "+" + id(name, 4, epub) + "+" + base64.StdEncoding.EncodeToString(append([]byte{4}, epub...))
	// ML-DSA-44.
	mk, err := mldsa.NewPrivateKey(mldsa.MLDSA44(), seed)
	check(err)
	mpub := mk.PublicKey().Bytes()
	mtyped := append([]byte{6}, mpub...)
	mvkey := name + "+" + id(name, 6, mpub) + "+" + base64.StdEncoding.EncodeToString(mtyped)
	mskey := "PRIVATE+KEY+" + name + "+" + id(name, 6, mpub) + "+" + base64.StdEncoding.EncodeToString(append([]byte{6}, mk.Bytes()...))
	ms, err := f_note.NewSignerForCosignatureV1(mskey)
	check(err)
	n, err := note.Sign(&note.Note{Text: body}, ls, es, ms)
	check(err)
	for _, v := range []string{evkey, mvkey} {
		ver, err := f_note.NewVerifierForCosignatureV1(v)
		check(err)
		_, err = note.Open(n, note.VerifierList(ver))
		check(err)
	}
	out := map[string]string{"seed": fmt.Sprintf("%x", seed), "log": ls.Name() + "+" + id(lname, 1, lpub[1:]) + "+" + base64.StdEncoding.EncodeToString(lpub), "ed25519": evkey, "ml_dsa_44": mvkey, "note": string(n)}
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", " ")
	check(enc.Encode(out))
}
