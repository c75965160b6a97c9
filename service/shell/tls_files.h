/* Where the certificates of one side of TLS are: values, from settings. */
#ifndef TALLY_SERVICE_SHELL_TLS_FILES_H
#define TALLY_SERVICE_SHELL_TLS_FILES_H

#define TLY_TLS_PATH_MAX 1024
#define TLY_TLS_NAME_MAX 256

/* "": not set. PEM all of them. */
struct tly_tls_files {
    char certificate[TLY_TLS_PATH_MAX]; /* the own one first, then those that lead to the root */
    char key[TLY_TLS_PATH_MAX];
    char ca[TLY_TLS_PATH_MAX]; /* who may vouch for the other side */
    char name
        [TLY_TLS_NAME_MAX]; /* the other side has to be: a name, or an address, of its certificate's alternatives */
};

#endif
