package sipmsg

import (
	"crypto/rand"
	"encoding/hex"
)

// BranchCookie begins each branch that is unique by RFC 3261 §8.1.1.7.
const BranchCookie = "z9hG4bK"

// NewTag returns a tag of 80 random bits (RFC 3261 §19.3 asks for 32).
func NewTag() string { return random(10) }

// NewBranch returns a branch of 128 random bits behind the magic cookie (RFC 3261 §8.1.1.7).
func NewBranch() string { return BranchCookie + random(16) }

// NewCallID returns a Call-ID of 128 random bits. It names no host: that would show the inside.
func NewCallID() string { return random(16) }

func random(n int) string {
	var b [16]byte
	rand.Read(b[:n]) // crypto/rand.Read never fails
	var out [32]byte
	hex.Encode(out[:], b[:n])
	return string(out[:2*n])
}
