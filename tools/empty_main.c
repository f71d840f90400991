/* SPDX-License-Identifier: Apache-2.0 */
/* Linked with one whole layer and the layers below it: an undefined symbol here is a call to a sibling
 * or upwards, which the design forbids (ARCHITECTURE.md, "Layers"). */
int main(void);
int main(void)
{
    return 0;
}
