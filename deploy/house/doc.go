// Package house holds the tests of the house's own rules: which room may import which, that each room says what it is for,
// and that what the documents promise stands in the code.
package house
